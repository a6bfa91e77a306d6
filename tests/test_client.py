import asyncio
import json
from types import SimpleNamespace

import openai
import pytest

from flytekitplugins.openai import _client
from flytekitplugins.openai._client import Account, async_client, explained, platform_url
from flytekitplugins.openai._credentials import APIKey
from flytekitplugins.openai.emulator import CallFault
from flytekitplugins.openai.exceptions import RefusedError, UnavailableError
from tests.builders import start_deaf_listener

ACCOUNT = Account(APIKey("sk-secret", "secret 'team/key'"))


def run(call):
    async def closing():
        try:
            return await call()
        finally:
            await _client.close_clients()

    return asyncio.run(closing())


def retrieve(emulator, fault=None, *, account=ACCOUNT):
    """What a look-up that fails is explained as."""
    if fault is not None:
        emulator.order(fault)

    async def call():
        with explained(account, "look up batch 'batch_1'"):
            await async_client(account).batches.retrieve("batch_1")

    with pytest.raises((RefusedError, UnavailableError)) as raised:
        run(call)
    return raised.value


def test_client_is_kept_for_the_next_call(emulator):
    """A client costs 17 ms of CPU for its TLS context."""

    async def call():
        return async_client(ACCOUNT) is async_client(ACCOUNT)

    assert run(call)


def test_accounts_share_one_connection_pool(emulator):
    """The TLS context belongs to the pool, and is made once."""

    async def call():
        other = async_client(Account(APIKey("sk-other", "another secret")))
        return async_client(ACCOUNT)._client is other._client  # noqa: SLF001 (there is no public way to ask)

    assert run(call)


def test_accounts_do_not_share_a_key(emulator):
    """Each call carries the key, organization and project of its own account."""

    async def call():
        for name in ("a", "b"):
            account = Account(APIKey(f"sk-{name}", "a secret"), f"org-{name}", f"proj-{name}")
            await async_client(account).batches.list()

    run(call)
    seen = [(c.key, c.headers["openai-organization"], c.headers["openai-project"]) for c in emulator.calls]
    assert seen == [("sk-a", "org-a", "proj-a"), ("sk-b", "org-b", "proj-b")]


def test_polls_one_after_the_other_use_one_connection(emulator):
    """Opening one costs a round trip, and in production a TLS handshake."""

    async def call():
        for _ in range(5):
            await async_client(ACCOUNT).batches.list()

    run(call)
    assert len({call.connection for call in emulator.calls}) == 1


def test_connection_is_kept_until_the_next_poll(emulator, monkeypatch):
    """Flyte polls a task every 30 seconds."""
    assert _client.KEEP_ALIVE_SECONDS > 30
    monkeypatch.setattr(_client, "KEEP_ALIVE_SECONDS", 0.5)

    async def call():
        for pause in (0, 0, 0.8):
            await asyncio.sleep(pause)
            await async_client(ACCOUNT).batches.list()

    run(call)
    first, second, third = (call.connection for call in emulator.calls)
    assert first == second != third


def test_slow_calls_do_not_hold_up_a_poll(emulator):
    """Models may take their time, however many are asked."""
    emulator.order(CallFault(path="/v1/chat/completions", delay=60, times=None))

    async def call():
        client = async_client(ACCOUNT)
        ask = client.chat.completions.create
        asked = [asyncio.create_task(ask(model="m", messages=[])) for _ in range(_client.MAX_KEPT_CONNECTIONS + 10)]
        listed = await asyncio.ensure_future(client.batches.list())
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        return listed.data

    assert run(call) == []


def test_each_event_loop_has_a_client_of_its_own(emulator):
    """flytekit runs several loops, and a client breaks on any but its first."""

    async def call():
        await async_client(ACCOUNT).batches.list()

    run(call)
    run(call)
    assert [call.status for call in emulator.calls] == [200, 200]


def test_clients_of_closed_loops_are_forgotten(emulator):
    """A process that makes many loops does not keep them all."""

    async def call():
        async_client(ACCOUNT)

    for _ in range(3):
        asyncio.run(call())
    closed = [loop for loop in _client._clients if loop.is_closed()]  # noqa: SLF001 (it is what is tested)
    assert len(closed) == 1
    run(call)


def test_number_of_kept_clients_is_bounded(emulator, monkeypatch):
    """Keys rotate, and the service runs for months; those in use are kept."""
    monkeypatch.setattr(_client, "MAX_CLIENTS", 3)

    async def call():
        first = async_client(ACCOUNT)
        for number in range(10):
            async_client(Account(APIKey(f"sk-{number}", "a secret")))
            assert async_client(ACCOUNT) is first
        return len(_client._clients[asyncio.get_running_loop()].by_account)  # noqa: SLF001

    assert run(call) == 3


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_empty_variable_sends_no_header(emulator, monkeypatch, name):
    """The SDK would send an empty header, which OpenAI refuses."""
    monkeypatch.setenv(name, "")

    async def call():
        await async_client(ACCOUNT).batches.list()

    run(call)
    assert not {"openai-organization", "openai-project"} & set(emulator.calls[0].headers)


def test_account_without_a_project_is_the_environments(emulator, monkeypatch):
    """An operator sets them for tasks that name none."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-env")

    async def call():
        await async_client(ACCOUNT).batches.list()

    run(call)
    [seen] = emulator.calls
    assert (seen.headers["openai-organization"], seen.headers["openai-project"]) == ("org-env", "proj-env")


def test_empty_base_url_is_openais_own(monkeypatch):
    """An empty variable is how Kubernetes manifests say nothing."""
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert platform_url("batch_1") == "https://platform.openai.com/batches/batch_1"


@pytest.mark.parametrize("url", ["https://eu.api.openai.com/v1", "https://api.openai.com/v1"])
def test_batch_has_a_page_on_openais_platform(monkeypatch, url):
    """Data residency has hosts of its own, and the same platform."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert platform_url("batch_1") == "https://platform.openai.com/batches/batch_1"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8089/v1", "https://example.com/openai.com", "https://notopenai.com"])
def test_batch_of_another_server_has_no_page(monkeypatch, url):
    """A link that leads nowhere is worse than none."""
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert platform_url("batch_1") is None


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_named_by_its_secret(emulator, status):
    """The server's words are left out, because they repeat part of the key."""
    error = retrieve(emulator, CallFault(status=status, code="invalid_api_key", message="Incorrect: sk-sec***et"))
    assert isinstance(error, RefusedError)
    assert str(error) == (
        f"Could not look up batch 'batch_1': OpenAI refused the key from secret 'team/key' ({status} invalid_api_key); "
        "check that it is valid, and allowed for Files and Batches."
    )


def test_refused_key_is_told_with_its_organization_and_project(emulator):
    """The key may be right, and what it was used for not."""
    account = Account(ACCOUNT.api_key, "org-1", "proj-1")
    error = retrieve(emulator, CallFault(status=401), account=account)
    assert "the key from secret 'team/key', organization 'org-1', project 'proj-1' (401)" in str(error)


def test_answer_that_takes_too_long_may_pass(emulator, monkeypatch):
    """Slow is not wrong."""
    monkeypatch.setattr(_client, "CALL_SECONDS", 0.05)
    monkeypatch.setattr(_client, "CALL_RETRIES", 0)
    error = retrieve(emulator, CallFault(delay=0.5))
    assert isinstance(error, UnavailableError)
    assert str(error) == "Could not look up batch 'batch_1': OpenAI did not answer in time."


@pytest.mark.parametrize("status", [400, 404, 422])
def test_refused_request_is_final(emulator, status):
    """The same request would be refused again."""
    error = retrieve(emulator, CallFault(status=status, code="some_code", message="It is wrong."))
    assert isinstance(error, RefusedError)
    assert str(error) == f"Could not look up batch 'batch_1': OpenAI refused ({status} some_code: It is wrong)."


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_refusal_for_now_may_pass(emulator, status):
    """These statuses speak of the moment, not of the request."""
    error = retrieve(emulator, CallFault(status=status, message="Busy.", times=None))
    assert isinstance(error, UnavailableError)
    assert str(error) == f"Could not look up batch 'batch_1': OpenAI is not able to answer now ({status}: Busy)."


def test_dropped_connection_may_pass(emulator):
    """The network is not OpenAI's answer."""
    error = retrieve(emulator, CallFault(drop=True, times=None))
    assert isinstance(error, UnavailableError)
    assert str(error).startswith(f"Could not look up batch 'batch_1': no connection to {emulator.base_url} (")


def test_connection_that_is_not_made_in_time_is_no_slow_answer(emulator, monkeypatch):
    """The SDK calls both a timeout, and what to do about them is not the same."""
    monkeypatch.setattr(_client, "CALL_CONNECT_SECONDS", 0.05)
    with start_deaf_listener() as base_url:
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
        error = retrieve(emulator)
    assert str(error) == f"Could not look up batch 'batch_1': no connection to {base_url} (ConnectTimeout)."
    assert error.reason == "connection"


def test_secrets_of_the_base_url_are_not_shown(monkeypatch):
    """A proxy's password is the operator's, and so is a key in the query."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:secret@127.0.0.1:9/v1?api-key=secret#secret")
    monkeypatch.setattr(_client, "CALL_RETRIES", 0)

    async def call():
        with explained(ACCOUNT, "look up batch 'batch_1'"):
            await async_client(ACCOUNT).batches.retrieve("batch_1")

    with pytest.raises(UnavailableError, match=r"no connection to http://127\.0\.0\.1:9/v1 \(") as raised:
        run(call)
    assert "secret" not in str(raised.value)


def test_document_that_breaks_off_may_pass(emulator):
    """A proxy that fails in the middle leaves half a document."""
    error = retrieve(emulator, CallFault(body='{"id": "batch_1", '))
    assert isinstance(error, UnavailableError)
    assert str(error).startswith("Could not look up batch 'batch_1': the answer could not be read (")


def test_key_in_the_servers_words_is_masked(emulator):
    """Some compatible servers repeat what they were sent."""
    error = retrieve(emulator, CallFault(status=400, message="bad header Bearer sk-secret"))
    assert str(error) == "Could not look up batch 'batch_1': OpenAI refused (400: bad header Bearer ***)."


@pytest.mark.parametrize("status", [400, 401, 429])
def test_key_in_the_servers_code_is_masked(emulator, status):
    """Wherever a server repeats it."""
    error = retrieve(emulator, CallFault(status=status, code="no sk-secret", message="No."))
    assert f"({status} no ***" in str(error)
    assert "sk-secret" not in f"{error} {error.answer}"


def test_words_of_a_server_are_cut(emulator):
    """Flyte's console is not for pages, and a key at the cut would be half a key."""
    words = "x" * 990 + "sk-secret" + "y" * 5_000
    error = retrieve(emulator, CallFault(status=400, code="c" * 500, message=words))
    assert str(error) == (
        f"Could not look up batch 'batch_1': OpenAI refused (400 {'c' * 99}\u2026: {'x' * 990}***{'y' * 6}\u2026)."
    )


def test_code_may_be_a_number(emulator):
    """Some gateways repeat the status there."""
    body = json.dumps({"error": {"code": 502, "message": "upstream"}})
    error = retrieve(emulator, CallFault(status=400, body=body))
    assert str(error) == "Could not look up batch 'batch_1': OpenAI refused (400 502: upstream)."
    assert error.answer.code == "502"


def test_page_in_place_of_an_error_is_left_out(emulator):
    """A gateway's HTML is not a sentence."""
    body = json.dumps("<html>Bad Gateway</html>")
    error = retrieve(emulator, CallFault(status=502, body=body, times=None))
    assert str(error) == "Could not look up batch 'batch_1': OpenAI is not able to answer now (502)."


@pytest.mark.parametrize(("header", "seconds"), [("30", 30.0), ("1.5", 1.5), ("soon", None), ("", None)])
def test_answer_tells_when_to_ask_again(emulator, header, seconds):
    """OpenAI says so in seconds."""
    error = retrieve(emulator, CallFault(status=429, code="rate_limit_exceeded", headers={"Retry-After": header}))
    assert (error.answer.status, error.answer.code) == (429, "rate_limit_exceeded")
    assert error.answer.retry_after == seconds


def test_full_queue_may_pass_even_as_a_400(emulator):
    """Azure refuses at once what OpenAI lets fail in validation."""
    error = retrieve(emulator, CallFault(status=400, code="token_limit_exceeded"))
    assert isinstance(error, UnavailableError)


def test_every_status_error_of_the_sdk_is_explained(emulator):
    """A new class of errors in the SDK has a status, and so a meaning."""
    for kind in openai.APIStatusError.__subclasses__():
        status = getattr(kind, "status_code", 500)
        with pytest.raises((RefusedError, UnavailableError)):
            raise _client._explanation(make_status_error(kind, status), ACCOUNT, "test", "tests")  # noqa: SLF001


def make_status_error(kind, status):
    error = kind.__new__(kind)
    error.status_code, error.code, error.body = status, None, None
    error.response = SimpleNamespace(headers={})
    return error
