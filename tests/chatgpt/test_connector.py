import asyncio
import contextlib
import copy
import time

import pytest
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import ConnectorRegistry
from flytekit.models.literals import LiteralMap

from flytekitplugins.openai import ChatGPTConnector, _client
from flytekitplugins.openai.chatgpt import connector as module
from flytekitplugins.openai.chatgpt import conversation
from flytekitplugins.openai.emulator import CallFault
from tests.builders import make_chat_template, make_message, start_deaf_listener

CHAT = "/v1/chat/completions"
RETRYABLE = TaskExecution.RETRYABLE_FAILED


async def ask(connector, message="What is it?", **arguments):
    """What the task's output is."""
    resource = await connector.do(make_chat_template(**arguments), make_message(message))
    assert resource.phase == TaskExecution.SUCCEEDED
    return resource.outputs["o0"]


async def refusal_of(connector, phase=TaskExecution.FAILED, **arguments):
    """The sentence that the task fails with, for good or for now."""
    resource = await connector.do(make_chat_template(**arguments), make_message())
    assert (resource.phase, resource.outputs) == (phase, None)
    return resource.message


@pytest.fixture
def odd(openai_api, closing_clients):
    """A connector that gets the replies that `answer_with` or the test gives to `odd.route`."""
    connector = ChatGPTConnector()
    connector.route = openai_api.post("/chat/completions")
    return connector


def answer_with(odd, content=None, *, finish_reason="stop", refusal=None):
    """Let the calls be answered by this."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    choices = [{"index": 0, "message": message, "finish_reason": finish_reason}]
    odd.route.respond(json={"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": choices})


def test_connector_is_registered_for_its_task_type():
    """The service finds connectors in flytekit's registry."""
    assert isinstance(ConnectorRegistry.get_connector("chatgpt", 0), ChatGPTConnector)
    assert ChatGPTConnector.name == "ChatGPT Connector"


async def test_answer_is_the_output(connector):
    """One call, and the task has succeeded."""
    resource = await connector.do(make_chat_template(), make_message("What is it?"), output_prefix="s3://bucket/0")
    assert (resource.phase, resource.outputs) == (TaskExecution.SUCCEEDED, {"o0": "Heard: What is it?"})


async def test_config_is_sent_as_it_was_written(connector, emulator):
    """A protobuf Struct, in which it travels, turns whole numbers into floats."""
    config = {"max_tokens": 20, "temperature": 0.5, "logit_bias": {"50256": -100}}
    await ask(connector, "hi", config=config)
    [body] = emulator.bodies
    assert body == {"model": "gpt-4o-mini", **config, "messages": [{"role": "user", "content": "hi"}]}
    assert str(body["max_tokens"]) == "20"


async def test_messages_of_the_config_come_first(connector, emulator):
    """Such as a system prompt, which the published package left out."""
    system = {"role": "system", "content": "Be brief."}
    await ask(connector, "hi", config={"messages": [system]})
    assert emulator.bodies[0]["messages"] == [system, {"role": "user", "content": "hi"}]


async def test_arguments_the_sdk_has_no_name_for_are_handed_on(connector, emulator):
    """The API grows before the SDK that a deployment has installed."""
    await ask(connector, config={"effort_of_tomorrow": "high", "extra_body": {"more": 1}})
    assert (emulator.bodies[0]["effort_of_tomorrow"], emulator.bodies[0]["more"]) == ("high", 1)


async def test_template_is_left_as_it_was(connector):
    """flytekit keeps it for the next call."""
    template = make_chat_template(config={"messages": [{"role": "system", "content": "Be brief."}]})
    before = copy.deepcopy(template.custom)
    await connector.do(template, make_message())
    assert template.custom == before


async def test_call_is_for_organization_and_project(connector, emulator):
    """Both come from the task, and the key from the operator."""
    await ask(connector, openai_organization="org-1", openai_project="proj-1")
    [call] = emulator.calls
    assert (call.headers["openai-organization"], call.headers["openai-project"]) == ("org-1", "proj-1")
    assert call.key == "sk-operator"


async def test_calls_share_a_client_and_a_connection(connector, emulator):
    """A client costs 17 ms of CPU for its TLS context, and a connection a round trip."""
    for _ in range(5):
        await ask(connector)
    assert len({call.connection for call in emulator.calls}) == 1


# What may pass.


@pytest.mark.parametrize(
    "fault", [{"drop": True}, *({"status": status} for status in (408, 409, 429, 500, 503))], ids=str
)
async def test_what_may_pass_is_retried(connector, emulator, monkeypatch, fault):
    """A 503 must not fail a workflow."""
    monkeypatch.setattr(conversation, "PAUSES_SECONDS", (0.01,))
    emulator.order(CallFault(path=CHAT, times=2, **fault))
    assert await ask(connector) == "Heard: What is it?"
    assert len(emulator.calls) == 3


async def test_pause_is_as_long_as_openai_asks_for(connector, emulator, monkeypatch):
    """It knows best when there is room again."""
    monkeypatch.setattr(conversation, "PAUSES_SECONDS", (60,))
    emulator.order(CallFault(path=CHAT, status=429, headers={"Retry-After": "0.2"}))
    started_at = time.monotonic()
    assert await ask(connector) == "Heard: What is it?"
    assert time.monotonic() - started_at >= 0.2


async def test_pause_that_does_not_fit_is_not_made(connector, emulator):
    """The reason is reported at once instead of a timeout."""
    emulator.order(CallFault(path=CHAT, status=429, code="rate_limit_exceeded", headers={"Retry-After": "60"}))
    assert await refusal_of(connector, RETRYABLE) == (
        "Could not ask model 'gpt-4o-mini': OpenAI is unavailable (429 rate_limit_exceeded: ordered by the test)."
    )
    assert len(emulator.calls) == 1


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
async def test_account_without_money_is_reported_at_once(connector, emulator, code):
    """It does not pass within seconds."""
    emulator.order(CallFault(path=CHAT, status=429, code=code, message="Check your plan.", times=None))
    assert await refusal_of(connector) == (
        f"Could not ask model 'gpt-4o-mini': OpenAI is unavailable (429 {code}: Check your plan)."
    )
    assert len(emulator.calls) == 1


async def test_trouble_that_does_not_pass_is_reported(connector, emulator):
    """Within the task's timeout, which is short here."""
    emulator.order(CallFault(path=CHAT, status=503, times=None))
    assert await refusal_of(connector, RETRYABLE, timeout_seconds=1.4) == (
        "Could not ask model 'gpt-4o-mini': OpenAI is unavailable (503: ordered by the test)."
    )
    assert len(emulator.calls) == 2


LATE = (
    "Could not ask model 'gpt-4o-mini': OpenAI did not answer within {} seconds; if it needs longer, raise the task's "
    "timeout_seconds, and above it Flyte's plugins.connector-service.defaultConnector.timeouts: "
    "[{{ExecuteTaskSync: 60s}}]."
)


async def test_call_that_takes_too_long_is_given_up(connector, emulator):
    """In time to say so; it is not made again, because it has perhaps been paid for."""
    emulator.order(CallFault(path=CHAT, delay=5))
    started_at = time.monotonic()
    assert await refusal_of(connector, RETRYABLE, timeout_seconds=1) == LATE.format(1)
    assert time.monotonic() - started_at < 5
    assert len(emulator.calls) == 1


async def test_late_call_does_not_hide_what_was_before_it(connector, emulator):
    """A rate limit and a slow model are two things to be done something about."""
    emulator.order(CallFault(path=CHAT, status=429, headers={"Retry-After": "0.01"}), CallFault(path=CHAT, delay=5))
    assert await refusal_of(connector, RETRYABLE, timeout_seconds=1.5) == (
        f"{LATE.format(1.5)} The previous call failed: Could not ask model 'gpt-4o-mini': "
        "OpenAI is unavailable (429: ordered by the test)."
    )


async def test_late_call_tells_the_last_failure_before_it(connector, emulator):
    """Earlier failures have passed."""
    emulator.order(
        CallFault(path=CHAT, status=503, headers={"Retry-After": "0.01"}),
        CallFault(path=CHAT, status=429, headers={"Retry-After": "0.01"}),
        CallFault(path=CHAT, delay=5),
    )
    said = await refusal_of(connector, RETRYABLE, timeout_seconds=2)
    assert said.endswith("(429: ordered by the test).")


@pytest.mark.parametrize("seconds", [1, 5])
async def test_timeout_of_the_config_is_for_each_call(connector, emulator, seconds):
    """It is an argument of the SDK's, to which the published package hands it."""
    emulator.order(CallFault(path=CHAT, delay=5))
    started_at = time.monotonic()
    assert await refusal_of(connector, RETRYABLE, config={"timeout": 0.2}, timeout_seconds=seconds) == (
        "Could not ask model 'gpt-4o-mini': OpenAI did not answer within 0.2 seconds; if it needs longer, "
        "raise the timeout of the chatgpt_config."
    )
    assert time.monotonic() - started_at < 2


@pytest.mark.parametrize("own", [None, 60])
async def test_timeout_of_the_config_gives_no_more_time(connector, emulator, own):
    """Flyte would cancel the call."""
    emulator.order(CallFault(path=CHAT, delay=5))
    said = await refusal_of(connector, RETRYABLE, config={"timeout": own}, timeout_seconds=0.3)
    assert said == LATE.format(0.3)


async def test_connection_that_is_not_made_is_retried(connector, emulator, monkeypatch):
    """A slow model it is not, and nothing has been paid for."""
    monkeypatch.setattr(_client, "CALL_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr(conversation, "PAUSES_SECONDS", (0.01,))
    with start_deaf_listener() as base_url:
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
        asked = asyncio.create_task(ask(connector, timeout_seconds=5))
        await asyncio.sleep(0.3)
        monkeypatch.setenv("OPENAI_BASE_URL", emulator.base_url)
        assert await asked == "Heard: What is it?"


async def test_key_is_that_of_the_project_that_the_task_is_registered_in(connector, emulator, monkeypatch):
    """flytekit says no more of a task of this kind."""
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_API_KEY__PROJECT__DEVELOPMENT", "sk-project")
    monkeypatch.setenv("_FSEC_FLYTE_OPENAI_ORG_ID__PROJECT__DEVELOPMENT", "org-project")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-common")
    await ask(connector)
    [call] = emulator.calls
    assert (call.key, call.headers["openai-organization"]) == ("sk-project", "org-project")
    assert "openai-project" not in call.headers


async def test_project_without_a_key_asks_nothing_if_each_needs_one(connector, emulator, monkeypatch):
    """The operator set it so."""
    monkeypatch.setenv("FLYTE_OPENAI_REQUIRE_PROJECT_KEY", "true")
    said = await refusal_of(connector)
    assert said.startswith("Flyte project 'project' has no OpenAI API key of its own in the connector service")
    assert not emulator.calls


@pytest.mark.parametrize("seconds", [0.5, 1])
async def test_connection_that_is_never_made_is_reported(connector, monkeypatch, seconds):
    """However short the timeout is."""
    with start_deaf_listener() as base_url:
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
        said = await refusal_of(connector, RETRYABLE, timeout_seconds=seconds)
    assert said == f"Could not ask model 'gpt-4o-mini': no connection to {base_url} (ConnectTimeout)."


async def test_answer_that_trickles_in_is_given_up(connector, monkeypatch):
    """The SDK waits as long for each part of it as for the whole."""
    hung_up = asyncio.Event()

    async def trickle(reader, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        hung_up.set()

    async with await asyncio.start_server(trickle, "127.0.0.1", 0) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        said = await asyncio.wait_for(refusal_of(connector, RETRYABLE, timeout_seconds=1), 5)
        await asyncio.wait_for(hung_up.wait(), 5)
    assert said == LATE.format(1)


async def test_time_runs_from_the_beginning(connector, emulator, monkeypatch):
    """Flyte's does, too, while the key is looked up and the SDK is imported: there is none left for the call."""
    find = module.find_api_key
    monkeypatch.setattr(module, "find_api_key", lambda *args, **named: time.sleep(0.5) or find(*args, **named))
    assert await refusal_of(connector, RETRYABLE, timeout_seconds=0.4) == LATE.format(0.4)
    assert emulator.calls == []


def test_call_ends_before_flyte_cancels_it():
    """Flyte cancels after 10 seconds by default, and the reason would be lost."""
    assert module.TIMEOUT_SECONDS + 0.5 < 10


async def test_call_may_take_longer_than_a_poll(connector, emulator, monkeypatch):
    """The clients are made for polls, which have less time."""
    monkeypatch.setattr(_client, "CALL_SECONDS", 0.05)
    emulator.order(CallFault(path=CHAT, delay=0.2))
    assert await ask(connector) == "Heard: What is it?"


# What does not.


async def test_refused_key_is_explained(connector, emulator):
    """The message names the secret, never its value."""
    emulator.change(keys={"sk-other": "proj-1"})
    assert await refusal_of(connector) == (
        "Could not ask model 'gpt-4o-mini': OpenAI refused the key from secret 'FLYTE_OPENAI_API_KEY' "
        "(401 invalid_api_key); check that it is valid, and allowed for chat completions."
    )
    assert len(emulator.calls) == 1


async def test_missing_key_names_the_secret(connector, monkeypatch):
    """The operator is told what is missing."""
    monkeypatch.delenv("_FSEC_FLYTE_OPENAI_API_KEY")
    assert "secret 'FLYTE_OPENAI_API_KEY' is not in the connector service" in await refusal_of(connector)


async def test_refused_request_is_reported_in_one_sentence(connector, emulator):
    """With the server's own words."""
    emulator.change(models=("gpt-5",))
    assert await refusal_of(connector) == (
        "Could not ask model 'gpt-4o-mini': OpenAI refused "
        "(404 model_not_found: The model 'gpt-4o-mini' does not exist)."
    )


async def test_refusal_of_the_model_is_an_error(odd):
    """A workflow would otherwise go on with it as if it were an answer."""
    answer_with(odd, refusal="I can't help with that.")
    assert await refusal_of(odd) == ("Model 'gpt-4o-mini' returned no text: it refused (I can't help with that).")


async def test_refusal_does_not_tell_the_key(odd):
    """A model that is told it may repeat it."""
    answer_with(odd, refusal="I can't use sk-operator.")
    assert (await refusal_of(odd)).endswith("returned no text: it refused (I can't use ***).")


async def test_answer_in_parts_is_joined(odd):
    """As some compatible servers write it."""
    answer_with(odd, [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}])
    assert await ask(odd) == "Hello"


async def test_error_with_a_good_status_is_reported(odd):
    """Some gateways answer like this."""
    odd.route.respond(json={"error": {"message": "oops"}})
    assert await refusal_of(odd) == "Model 'gpt-4o-mini' returned no text: it is an error (oops)."


async def test_filtered_answer_is_an_error(odd):
    """It is null, with the reason beside it; to ask again would be refused again."""
    answer_with(odd, finish_reason="content_filter")
    assert await refusal_of(odd) == ("Model 'gpt-4o-mini' returned no text: finish_reason is 'content_filter'.")
    assert odd.route.call_count == 1


@pytest.mark.parametrize("body", ["null", "[]", "{}", '"text"', '{"choices": []}', '{"choices": [null]}'])
async def test_answer_that_is_none_is_an_error(odd, body):
    """Compatible servers and proxies answer what they like."""
    odd.route.respond(text=body, content_type="application/json")
    assert (await refusal_of(odd)).startswith("Model 'gpt-4o-mini' returned no text: ")


async def test_task_without_a_message_is_refused(connector):
    """Before OpenAI is asked."""
    resource = await connector.do(make_chat_template(), LiteralMap({}))
    assert (resource.phase, resource.message) == (TaskExecution.FAILED, "The ChatGPT task has no message.")


@pytest.mark.parametrize(
    "custom",
    [
        {"chatgpt_config": {}},
        {"chatgpt_config": {"model": "m", "stream": True}},
        {"chatgpt_config": {"model": "m", "extra_headers": "x"}},
        {"chatgpt_config": {"model": "m"}, "timeout_seconds": 0},
    ],
    ids=str,
)
async def test_template_that_no_task_wrote_is_checked(connector, emulator, custom):
    """A template may come from anywhere."""
    template = make_chat_template()
    template._custom = custom  # noqa: SLF001 (it has no setter)
    resource = await connector.do(template, make_message())
    assert resource.phase == TaskExecution.FAILED
    assert not emulator.calls
