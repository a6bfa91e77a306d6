"""Parameters of a request that shape its answer, in single calls and in the lines of a batch."""

import base64
import json

import pytest
from openai.types import Completion

from flytekitplugins.openai.emulator import Reply
from flytekitplugins.openai.emulator.responder import echo, reply_to

from .builders import CHAT
from .test_responder import SAID, answer, make_request
from .test_single_calls import post

RESPONSES = "/v1/responses"
COMPLETIONS = "/v1/completions"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
    "required": ["city", "days"],
}
FUNCTION = {"name": "weather", "parameters": PARAMETERS}
OTHER = {"name": "time", "parameters": {"type": "object", "properties": {}}}
CHAT_TOOLS = [{"type": "function", "function": function} for function in (OTHER, FUNCTION)]
TOOLS = [{"type": "function", **function} for function in (OTHER, FUNCTION)]
# Each field that OpenAI's document requires of a response.
REQUIRED_OF_A_RESPONSE = {
    "id", "object", "created_at", "error", "incomplete_details", "instructions", "metadata", "model", "output",
    "parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p",
}  # fmt: skip


def body_of(url, **body):
    return reply_to(make_request(url, **body), echo).body


def checked(body, module, name):
    """The body, once it has passed the strict checks of the SDK's model."""
    getattr(pytest.importorskip(module, exc_type=ImportError), name).model_validate(body, strict=True)
    return body


@pytest.mark.parametrize("n", [1, 3])
def test_chat_has_n_choices(n):
    """Each choice has its own index, and the tokens of all of them are counted."""
    body = checked(body_of(CHAT, n=n), "openai.types.chat", "ChatCompletion")
    assert [choice["index"] for choice in body["choices"]] == list(range(n))
    assert body["usage"]["completion_tokens"] == 8 * n


def test_batch_line_has_n_choices(client):
    """A line of a batch is answered as a single call is."""
    assert len(answer(client, CHAT, n=2)["choices"]) == 2


def test_each_prompt_has_n_completions():
    """The choices of the first prompt come first (platform.openai.com/docs/api-reference/completions/create)."""
    body = body_of(COMPLETIONS, prompt=["a", "b"], n=2)
    Completion.model_validate(body, strict=True)
    assert [choice["text"][-1] for choice in body["choices"]] == ["a", "a", "b", "b"]
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(("prompt", "count"), [([1, 2], 1), ([[1, 2], [3]], 2), ("a", 1), (["a"], 1)])
def test_prompt_of_tokens_is_one_prompt(prompt, count):
    """A list of numbers is the tokens of one prompt."""
    assert len(body_of(COMPLETIONS, prompt=prompt)["choices"]) == count


def test_responder_sees_each_prompt():
    """It answers one prompt at a time, and a whole reply ends the request."""
    seen = []
    reply_to(make_request(COMPLETIONS, prompt=["a", "b"]), lambda request: seen.append(request.prompt) or "fine")
    reply = reply_to(make_request(COMPLETIONS, prompt=["a", "b"]), lambda _request: Reply({}, 403))
    assert (seen, reply.status_code) == (["a", "b"], 403)


@pytest.mark.parametrize(
    ("url", "name"), [(CHAT, "max_tokens"), (CHAT, "max_completion_tokens"), (COMPLETIONS, "max_tokens")]
)
def test_text_over_the_token_limit_is_cut_off(url, name):
    """The finish reason of a text that was cut off is `length`."""
    body = body_of(url, **{name: 2})
    choice = body["choices"][0]
    text = choice["text"] if url == COMPLETIONS else choice["message"]["content"]
    assert (text, choice["finish_reason"]) == (SAID[:8], "length")
    assert body["usage"]["completion_tokens"] == 2


def test_text_within_the_token_limit_is_whole():
    """A limit that is just enough cuts nothing."""
    choice = body_of(CHAT, max_completion_tokens=8)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (SAID, "stop")


def test_response_over_the_token_limit_is_incomplete():
    """The response and its message are `incomplete`, and the details have the reason."""
    body = checked(body_of(RESPONSES, input="x" * 100, max_output_tokens=16), "openai.types.responses", "Response")
    assert (body["status"], body["output"][0]["status"]) == ("incomplete", "incomplete")
    assert body["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (len(body["output"][0]["content"][0]["text"]), body["usage"]["output_tokens"]) == (64, 16)


@pytest.mark.parametrize(
    ("choice", "name"),
    [("required", "time"), ({"type": "function", "function": {"name": "weather"}}, "weather")],
)
def test_forced_tool_is_called_in_a_chat(choice, name):
    """The first tool is called where any is required, and the named one where one is named."""
    body = checked(body_of(CHAT, tools=CHAT_TOOLS, tool_choice=choice), "openai.types.chat", "ChatCompletion")
    message = body["choices"][0]["message"]
    assert (message["content"], body["choices"][0]["finish_reason"]) == (None, "tool_calls")
    assert [call["function"]["name"] for call in message["tool_calls"]] == [name]


def test_arguments_of_a_forced_tool_fit_its_parameters():
    """They are made from the schema of the tool's parameters."""
    choice = {"type": "function", "function": {"name": "weather"}}
    body = body_of(CHAT, tools=CHAT_TOOLS, tool_choice=choice)
    arguments = json.loads(body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])
    assert arguments == {"city": "What is it?", "days": 3}


@pytest.mark.parametrize(
    ("choice", "name"), [("required", "time"), ({"type": "function", "name": "weather"}, "weather")]
)
def test_forced_tool_is_called_in_a_response(choice, name):
    """The call is an output item of its own."""
    body = checked(body_of(RESPONSES, tools=TOOLS, tool_choice=choice), "openai.types.responses", "Response")
    assert [(item["type"], item["name"]) for item in body["output"]] == [("function_call", name)]
    assert (body["tools"], body["tool_choice"]) == (TOOLS, choice)


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_tool_that_is_not_forced_is_not_called(choice):
    """The models answer with a text where they may."""
    message = body_of(CHAT, tools=CHAT_TOOLS, **({"tool_choice": choice} if choice else {}))["choices"][0]["message"]
    assert (message["content"], "tool_calls" in message) == (SAID, False)


def test_text_of_a_responder_is_the_arguments_of_a_forced_tool():
    """A test says itself what a tool is called with."""
    request = make_request(CHAT, tools=CHAT_TOOLS, tool_choice="required")
    message = reply_to(request, lambda _request: "{}").body["choices"][0]["message"]
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"


def test_response_has_every_required_field():
    """OpenAI's document requires each of them, null or not."""
    assert set(body_of(RESPONSES)) >= REQUIRED_OF_A_RESPONSE


def test_output_text_has_every_required_field():
    """OpenAI's document requires `logprobs`, too, which the SDK's model does not."""
    assert set(body_of(RESPONSES)["output"][0]["content"][0]) == {"type", "text", "annotations", "logprobs"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("instructions", "Be brief."),
        ("metadata", {"team": "search"}),
        ("temperature", 0),
        ("top_p", 0.5),
        ("parallel_tool_calls", False),
        ("max_output_tokens", 100),
        ("reasoning", {"effort": "low"}),
        ("text", {"format": {"type": "json_object"}}),
        ("store", False),
    ],
)
def test_response_repeats_its_request(name, value):
    """What the request asked for is part of the response."""
    assert body_of(RESPONSES, **{name: value})[name] == value


@pytest.mark.parametrize("url", [CHAT, COMPLETIONS, RESPONSES, "/v1/images/generations"])
def test_single_answer_has_the_time_it_was_made(emulator, url):
    """The time is that of the emulator's clock."""
    emulator.advance(5_000)
    body = post(emulator, url).json
    assert body["created_at" if url == RESPONSES else "created"] == int(emulator.now())


def test_answer_of_a_batch_has_the_time_it_was_made(emulator, client):
    """At one request a second the only request is done after a second."""
    emulator.change(requests_per_second=1)
    started = int(emulator.now())
    line = {"custom_id": "r-1", "method": "POST", "url": CHAT, "body": make_request(CHAT).body}
    file = client.files.create(file=json.dumps(line).encode(), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    emulator.advance(60)
    output = client.files.content(client.batches.retrieve(batch.id).output_file_id).read()
    assert json.loads(output)["response"]["body"]["created"] == started + 1


@pytest.mark.parametrize(("url", "count"), [("/v1/images/generations", 1), ("/v1/images/edits", 2)])
def test_image_is_a_png(url, count):
    """Each picture is the data of a PNG, the same one for the same prompt."""
    body = body_of(url, n=count)
    assert body == body_of(url, n=count)
    pictures = [base64.b64decode(image["b64_json"]) for image in body["data"]]
    assert [picture[:8] for picture in pictures] == [b"\x89PNG\r\n\x1a\n"] * count


def test_video_is_completed():
    """A video object has what its request asked for."""
    body = body_of("/v1/videos", seconds="8", size="1280x720")
    assert (body["object"], body["status"], body["seconds"], body["size"]) == ("video", "completed", "8", "1280x720")
