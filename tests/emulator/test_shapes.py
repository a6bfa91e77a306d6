"""Requests that lack their input or have it in the wrong shape."""

import pytest

from .builders import CHAT, counts, results, run
from .test_responder import BODIES
from .test_single_calls import post

RESPONSES = "/v1/responses"
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
MISSING = "missing_required_parameter"
# Parameters of the wrong shape: endpoint, body, the code and the parameter of the refusal.
WRONG = [
    (CHAT, {"messages": "Hello"}, "invalid_type", "messages"),
    (CHAT, {"messages": []}, "empty_array", "messages"),
    (CHAT, {"messages": ["Hello"]}, "invalid_type", "messages[0]"),
    (CHAT, {"messages": [{"content": "Hello"}]}, MISSING, "messages[0].role"),
    (CHAT, {"messages": [{"role": "boss", "content": "Hello"}]}, "invalid_value", "messages[0].role"),
    (CHAT, {"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content"),
    (CHAT, {"response_format": "json_object"}, "invalid_type", "response_format"),
    (CHAT, {"response_format": {}}, MISSING, "response_format.type"),
    (CHAT, {"response_format": {"type": "json"}}, "invalid_value", "response_format.type"),
    (CHAT, {"response_format": {"type": "json_schema"}}, MISSING, "response_format.json_schema"),
    (
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        MISSING,
        "response_format.json_schema.name",
    ),
    (
        CHAT,
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}},
        "invalid_type",
        "response_format.json_schema.schema",
    ),
    (RESPONSES, {"text": "json_object"}, "invalid_type", "text"),
    (RESPONSES, {"text": {"format": "json_object"}}, "invalid_type", "text.format"),
    (RESPONSES, {"text": {"format": FORMAT}}, MISSING, "text.format.name"),
    (RESPONSES, {"text": {"format": {"type": "json_schema", "name": "a"}}}, MISSING, "text.format.schema"),
    (RESPONSES, {"input": {"role": "user"}}, "invalid_type", "input"),
    (RESPONSES, {"max_output_tokens": 5}, "integer_below_min_value", "max_output_tokens"),
    ("/v1/embeddings", {"input": {}}, "invalid_type", "input"),
    ("/v1/embeddings", {"input": []}, "invalid_value", "input"),
    (CHAT, {"n": "two"}, "invalid_type", "n"),
    (CHAT, {"n": 0}, "integer_below_min_value", "n"),
    (CHAT, {"n": 129}, "integer_above_max_value", "n"),
    (CHAT, {"tools": {}}, "invalid_type", "tools"),
    (CHAT, {"tools": [{"type": "function", "name": "f"}]}, MISSING, "tools[0].function"),
    (CHAT, {"tools": [{"type": "function", "function": {}}]}, MISSING, "tools[0].function.name"),
    (CHAT, {"tool_choice": "required"}, None, "tool_choice"),
    (RESPONSES, {"tools": [{"type": "function", "name": "f"}], "tool_choice": "any"}, "invalid_value", "tool_choice"),
    (
        RESPONSES,
        {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "g"}},
        None,
        "tool_choice",
    ),
]


def line_of(url, custom_id="r-1", **body):
    """A line of the endpoint; `None` leaves a parameter out."""
    given = {"model": "m"} | BODIES[url] | body
    given = {name: value for name, value in given.items() if value is not None}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": given}


@pytest.mark.parametrize("url", sorted(set(BODIES) - {"/v1/images/edits", "/v1/videos"}))
def test_single_call_without_its_input_is_refused(emulator, url):
    """The refusal is worded as OpenAI words it."""
    (name,) = BODIES[url]
    reply = post(emulator, url, **{name: None})
    assert reply.status == 400
    assert reply.error == {
        "message": f"Missing required parameter: '{name}'.",
        "type": "invalid_request_error",
        "param": name,
        "code": "missing_required_parameter",
    }


def test_single_response_may_have_a_stored_prompt_alone(emulator):
    """The prompt is stored with its input."""
    assert post(emulator, RESPONSES, input=None, prompt={"id": "pmpt_1"}).status == 200


@pytest.mark.parametrize("url", BODIES)
def test_line_without_its_input_fails_the_whole_batch(client, url):
    """Nothing of the batch runs, and the error has the line and the parameter."""
    (name,) = BODIES[url]
    batch = run(client, [line_of(url), line_of(url, "r-2", **{name: None})], endpoint=url)
    assert (batch.status, batch.output_file_id) == ("failed", None)
    (error,) = batch.errors.data
    assert (error.code, error.line, error.param) == (MISSING, 2, f"body.{name}")
    assert error.message == f"Missing required parameter: 'body.{name}'."


def test_line_with_a_stored_prompt_alone_fails_the_whole_batch(client):
    """Users have seen OpenAI refuse it for want of an `input`."""
    batch = run(client, [line_of(RESPONSES, input=None, prompt={"id": "pmpt_1"})], endpoint=RESPONSES)
    assert [(error.code, error.param) for error in batch.errors.data] == [(MISSING, "body.input")]


@pytest.mark.parametrize(("url", "body", "code", "param"), WRONG)
def test_single_call_of_the_wrong_shape_is_refused(emulator, url, body, code, param):
    """The refusal is HTTP 400 and names the parameter."""
    reply = post(emulator, url, **body)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)


@pytest.mark.parametrize(("url", "body", "code", "param"), WRONG)
def test_line_of_the_wrong_shape_is_refused_alone(client, url, body, code, param):
    """The batch runs, and the result of the line has the status 400."""
    batch = run(client, [line_of(url), line_of(url, "r-2", **body)], endpoint=url)
    _, errors = results(client, batch)
    assert (batch.status, counts(batch)) == ("completed", (2, 1, 1))
    response = errors["r-2"]["response"]
    assert (response["status_code"], response["body"]["error"]["code"]) == (400, code)
    assert response["body"]["error"]["param"] == param
