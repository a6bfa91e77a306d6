import openai
import pytest

from flytekitplugins.openai.emulator.strict_schemas import NOT_PERMITTED, problem_in, refusal_of

from .builders import CHAT, MODEL, call, make_line, results, run
from .test_schemas import Item, Node, Tree

TEXT = {"type": "string"}
EVERY = "'required' is required to be supplied and to be an array including every key in properties"


def make_object(required=None, **properties):
    """A schema that can be followed strictly, unless one of its properties cannot, or not all are required."""
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


def make_form(schema, *, strict=True):
    return {"type": "json_schema", "json_schema": {"name": "item", "strict": strict, "schema": schema}}


def ask(emulator, form, *, url=CHAT):
    """A request for structured output by itself."""
    asked = {"messages": [{"role": "user", "content": "hi"}], "response_format": form}
    if url != CHAT:
        asked = {"input": "hi", "text": {"format": {"type": "json_schema", **form["json_schema"]}}}
    return call(emulator, "POST", url, body={"model": MODEL, **asked})


@pytest.mark.parametrize(
    "schema",
    [
        make_object(),
        make_object(a=TEXT, b=make_object(c={"type": ["string", "null"]}), d={"type": "array", "items": TEXT}),
        make_object(a={"anyOf": [make_object(b=TEXT), {"type": "null"}]}, c={"enum": [1, "one"]}),
        {**make_object(a={"$ref": "#/$defs/A"}), "$defs": {"A": make_object(a={"$ref": "#"})}},
        make_object(a={"type": "string", "pattern": "^a", "description": "A.", "title": "A", "default": "a"}),
    ],
    ids=str,
)
def test_schema_within_the_rules_has_no_problem(schema):
    """They are those of https://platform.openai.com/docs/guides/structured-outputs ."""
    assert problem_in(schema) is None


@pytest.mark.parametrize("model", [Item, Node, Tree])
def test_schema_of_the_sdk_has_no_problem(model):
    """It makes strict ones of Pydantic models."""
    assert problem_in(openai.pydantic_function_tool(model)["function"]["parameters"]) is None


@pytest.mark.parametrize("kind", ["array", "string", None])
def test_root_must_be_an_object(kind):
    """The answer is a document with names; no type is written as Python writes it."""
    message = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    assert problem_in({"type": kind} if kind else {"anyOf": [make_object()]}) == message


def test_root_must_not_be_a_choice():
    """Not even one of objects."""
    message = "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
    assert problem_in({**make_object(), "anyOf": [make_object()]}) == message


@pytest.mark.parametrize("additional", [{}, {"additionalProperties": True}, {"additionalProperties": TEXT}])
def test_object_must_be_closed(additional):
    """Names that nobody knows cannot be followed."""
    message = "In context=(), 'additionalProperties' is required to be supplied and to be false."
    assert problem_in({"type": "object", "properties": {}, "required": [], **additional}) == message


def test_object_must_require_all_it_has():
    """What may be missing is null instead."""
    assert problem_in(make_object(["a"], a=TEXT, b=TEXT)) == f"In context=(), {EVERY}. Missing 'b'."


def test_object_must_have_all_it_requires():
    """There is nothing to follow for the rest."""
    message = f"In context=(), {EVERY}. Extra required key 'b' supplied."
    assert problem_in(make_object(["a", "b"], a=TEXT)) == message


@pytest.mark.parametrize("keyword", NOT_PERMITTED)
def test_keyword_outside_of_the_rules_is_not_permitted(keyword):
    """The rules are a part of JSON Schema."""
    assert problem_in({**make_object(), keyword: []}) == f"In context=(), '{keyword}' is not permitted."


def test_value_must_have_a_type():
    """Pydantic's Any has none."""
    assert problem_in(make_object(a={})) == "In context=('properties', 'a'), schema must have a 'type' key."


def test_reference_stands_by_itself():
    """A description of a field whose type is a model is the usual way to it."""
    schema = make_object(a={"$ref": "#/$defs/A", "title": "A", "description": "One."})
    message = "context=('properties', 'a'), $ref cannot have keywords {'description', 'title'}."
    assert problem_in(schema) == message


@pytest.mark.parametrize(
    ("schema", "context"),
    [
        (make_object(a={"type": "object"}), "('properties', 'a')"),
        (make_object(a={"type": ["object", "null"]}), "('properties', 'a')"),
        (make_object(a={"type": "array", "items": {"type": "object"}}), "('properties', 'a', 'items')"),
        (make_object(a={"anyOf": [TEXT, {"type": "object"}]}), "('properties', 'a', 'anyOf', '1')"),
        ({**make_object(), "$defs": {"A": {"type": "object"}}}, "('$defs', 'A')"),
    ],
    ids=str,
)
def test_problem_is_told_with_its_place(schema, context):
    """However deep it is."""
    message = f"In context={context}, 'additionalProperties' is required to be supplied and to be false."
    assert problem_in(schema) == message


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
