import pytest

from flytekitplugins.openai.emulator.strict_schemas import refusal_of
from tests.test_strict_schemas import TEXT, make_object

from .builders import CHAT, MODEL, call, make_line, results, run


def make_form(schema, *, strict=True):
    return {"type": "json_schema", "json_schema": {"name": "item", "strict": strict, "schema": schema}}


def ask(emulator, form, *, url=CHAT):
    """A request for structured output by itself."""
    asked = {"messages": [{"role": "user", "content": "hi"}], "response_format": form}
    if url != CHAT:
        asked = {"input": "hi", "text": {"format": {"type": "json_schema", **form["json_schema"]}}}
    return call(emulator, "POST", url, body={"model": MODEL, **asked})


@pytest.mark.parametrize(
    ("url", "code", "param"),
    [(CHAT, None, "response_format"), ("/v1/responses", "invalid_json_schema", "text.format.schema")],
)
def test_request_with_a_problem_is_refused(emulator, url, code, param):
    """As OpenAI does, or a test would pass where production fails."""
    reply = ask(emulator, make_form(make_object(a={"type": "object"})), url=url)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
    assert reply.error["type"] == "invalid_request_error"
    assert reply.error["message"] == (
        "Invalid schema for response_format 'item': In context=('properties', 'a'), "
        "'additionalProperties' is required to be supplied and to be false."
    )


@pytest.mark.parametrize("url", [CHAT, "/v1/responses"])
@pytest.mark.parametrize("strict", [False, None])
def test_schema_that_is_not_strict_may_be_any(emulator, url, strict):
    """It is a hint then."""
    assert ask(emulator, make_form({"type": "array", "items": {}}, strict=strict), url=url).status == 200


@pytest.mark.parametrize(
    "form", [{"type": "text"}, {"type": "json_object", "strict": True, "schema": {}}, {"json_schema": "x"}, {}], ids=str
)
def test_form_without_a_strict_schema_is_none_to_refuse(form):
    """Whatever else may be wrong with it."""
    assert refusal_of({"type": "json_schema", **form}) is None


def test_line_of_a_batch_with_a_problem_is_refused_by_itself(client):
    """The others are answered."""
    bad, good = (
        make_line(name, response_format=make_form(schema))
        for name, schema in [("bad", {"type": "array"}), ("good", make_object(a=TEXT))]
    )
    output, errors = results(client, run(client, [bad, good]))
    assert (list(output), list(errors)) == (["good"], ["bad"])
    assert errors["bad"]["response"]["status_code"] == 400
