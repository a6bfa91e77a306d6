"""A schema is valid for strict structured outputs, or has a problem in OpenAI's words."""

import openai
import pytest

from flytekitplugins.openai._strict_schemas import NOT_PERMITTED, problem_in
from tests.emulator.test_schemas import Item, Node, Tree

TEXT = {"type": "string"}
EVERY = "'required' is required to be supplied and to be an array including every key in properties"


def make_object(required=None, **properties):
    """A schema that can be followed strictly, unless one of its properties cannot, or not all are required."""
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}


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
    """`additionalProperties` must be false."""
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


@pytest.mark.parametrize("kind", ["array", ["array", "null"]])
def test_array_must_say_what_is_in_it(kind):
    """As a tuple's does not, which says it place by place."""
    message = "In context=('properties', 'a'), array schema missing items."
    assert problem_in(make_object(a={"type": kind, "prefixItems": [TEXT]})) == message


@pytest.mark.parametrize("required", [True, 1, None, "a"])
def test_required_must_be_a_list(required):
    """Older schemas have a flag there."""
    schema = {**make_object(a=TEXT), "required": required}
    assert problem_in(schema) == f"In context=(), {EVERY}. Missing 'a'."


def test_format_must_be_a_known_one():
    """Such as that of a time, and not that of a URL."""
    assert problem_in(make_object(a={"type": "string", "format": "date-time"})) is None
    message = "In context=('properties', 'a'), 'uri' is not a valid format."
    assert problem_in(make_object(a={"type": "string", "format": "uri"})) == message


def test_object_must_say_what_is_in_it():
    """Or there is nothing that it could hold."""
    message = "In context=('properties', 'a'), object schema missing properties."
    assert problem_in(make_object(a={"type": "object", "additionalProperties": False})) == message


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
def test_problem_is_reported_with_its_place(schema, context):
    """At any depth."""
    message = f"In context={context}, 'additionalProperties' is required to be supplied and to be false."
    assert problem_in(schema) == message


@pytest.mark.parametrize("pattern", ["^(?!x)", "(?<=a)b", "(?=.*[a-z])"])
def test_pattern_with_look_around_is_refused(pattern):
    """OpenAI's regular expressions have none."""
    message = "regex lookaround is not supported. Found at $.properties.email.pattern."
    assert problem_in(make_object(email={"type": "string", "pattern": pattern})) == message


def nested(levels):
    return make_object(a=nested(levels - 1)) if levels > 1 else make_object(a=TEXT)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (make_object(**{f"p{n}": TEXT for n in range(5_001)}), "5,001 properties, and may have 5,000"),
        (nested(11), "11 levels of objects within each other, and may have 10"),
        (make_object(a={"enum": list(range(1_001))}), "1,001 enum values, and may have 1,000"),
        (make_object(**{"p" * 120_001: TEXT}), "120,001 characters in its names and enum values, and may have 120,000"),
        (
            make_object(a={"enum": ["x" * 60 + str(n) for n in range(300)]}),
            "an enum of 300 values with 18,790 characters",
        ),
    ],
    ids=["properties", "levels", "enum values", "names", "long enum"],
)
def test_schema_that_is_too_large_is_refused(schema, told):
    """The limits are documented."""
    assert told in problem_in(schema)


@pytest.mark.parametrize(
    "schema", [nested(10), make_object(a={"enum": ["x" * 50 + str(n) for n in range(250)]})], ids=str
)
def test_schema_that_is_just_not_too_large_has_no_problem(schema):
    """They are the most there may be."""
    assert problem_in(schema) is None
