import datetime as dt
import decimal
import enum
import json
import uuid
from typing import Annotated, Any, Literal

import pydantic
import pytest
from pydantic import BaseModel, Field

from flytekitplugins.openai.emulator.responder import Request, echo
from flytekitplugins.openai.emulator.schemas import EndlessSchemaError, document_for

from .builders import CHAT, MODEL

PROMPT = "What is it, and what does it cost?"


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


class Price(BaseModel):
    amount: float
    currency: Literal["EUR", "USD"]


class Node(BaseModel):
    value: int
    next: "Node | None"


class Tree(BaseModel):
    name: str
    children: list["Tree"]


class Item(BaseModel):
    name: str
    price: Price
    colour: Colour
    tags: list[str]


# What OpenAI's structured outputs and their users ask for.
TYPES = [
    str,
    int,
    float,
    bool,
    None,
    Any,
    int | None,
    Literal["only"],
    Literal[3, "three"],
    Colour,
    list[Price],
    dict[str, int],
    tuple[int, str],
    set[str],
    Node,
    Tree,
    Item,
    Item | Price,
    decimal.Decimal,
    uuid.UUID,
    dt.datetime,
    dt.date,
    dt.time,
    dt.timedelta,
    Annotated[int, Field(ge=1, le=5)],
    Annotated[int, Field(gt=5)],
    Annotated[int, Field(lt=-3)],
    Annotated[int, Field(ge=7, multiple_of=5)],
    Annotated[float, Field(gt=0, lt=1)],
    Annotated[float, Field(le=-0.5)],
    Annotated[float, Field(ge=0.05, multiple_of=0.25)],
    Annotated[list[int], Field(min_length=3)],
    Annotated[list[int], Field(max_length=0)],
    Annotated[str, Field(min_length=80)],
    Annotated[str, Field(max_length=3)],
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_document_fits_the_schema_of_a_type(kind):
    """Pydantic, which wrote the schema, reads the document."""
    adapter = pydantic.TypeAdapter(kind)
    adapter.validate_json(json.dumps(document_for(adapter.json_schema(), text="text")))


def test_document_is_small():
    """Every property is there, and an array has one item."""
    assert document_for(Item.model_json_schema(), text="What is it") == {
        "name": "What is it",
        "price": {"amount": 0, "currency": "EUR"},
        "colour": "red",
        "tags": ["What is it"],
    }


@pytest.mark.parametrize(
    ("kind", "document"), [(Node, {"value": 0, "next": None}), (Tree, {"name": "text", "children": []})]
)
def test_recursion_ends(kind, document):
    """At the first chance it has."""
    assert document_for(kind.model_json_schema(), text="text") == document


@pytest.mark.parametrize(
    ("schema", "document"),
    [
        ({}, "text"),
        ({"type": ["integer", "null"]}, 0),
        ({"oneOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"properties": {"a": {"const": None}}}, {"a": None}),
        ({"type": "object", "required": ["b"]}, {"b": "text"}),
        ({"items": {"type": "null"}}, [None]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        ({"$defs": {"a/b": {"enum": [7]}}, "$ref": "#/$defs/a~1b"}, 7),
        ({"properties": {"again": {"$ref": "#"}, "a": {"type": "null"}}}, {"a": None}),
        ({"type": ["object", "null"], "properties": {"again": {"$ref": "#"}}, "required": ["again"]}, None),
        ({"type": "string", "format": "email"}, "person@example.com"),
    ],
    ids=str,
)
def test_document_of_a_schema_written_by_hand(schema, document):
    """What pydantic does not write, others do."""
    assert document_for(schema, text="text") == document


def test_all_of_the_parts_are_filled():
    """`allOf` adds up, with what its parts refer to."""
    schema = {
        "$defs": {"named": {"type": "object", "properties": {"name": {"type": "string"}}}},
        "allOf": [{"$ref": "#/$defs/named"}, {"properties": {"size": {"type": "integer"}}}],
        "properties": {"colour": {"const": "red"}},
    }
    assert document_for(schema, text="text") == {"name": "text", "size": 0, "colour": "red"}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"type": "object", "properties": {"again": {"$ref": "#"}}, "required": ["again"]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
    ],
    ids=str,
)
def test_schema_that_no_document_fits_is_reported(schema):
    """A model would never end, either."""
    with pytest.raises(EndlessSchemaError, match=r"^The schema leads back to itself with no way out\.$"):
        document_for(schema, text="text")


def said(url=CHAT, *, prompt=PROMPT, **body):
    """What the emulator answers by default, read as JSON."""
    given = {"messages": [{"role": "user", "content": prompt}]} if url == CHAT else {"input": prompt}
    return json.loads(echo(Request("r-1", url, {"model": "m"} | given | body)))


SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}


def test_chat_is_answered_in_the_form_it_asks_for():
    """Its strings hold the first words of the prompt (platform.openai.com/docs/guides/structured-outputs)."""
    form = {"type": "json_schema", "json_schema": {"name": "item", "schema": SCHEMA}}
    assert said(response_format=form) == {"name": "What is it, and what"}


def test_response_is_answered_in_the_form_it_asks_for():
    """The newer endpoint says the same in other words."""
    form = {"type": "json_schema", "name": "item", "schema": SCHEMA}
    assert said("/v1/responses", text={"format": form}) == {"name": "What is it, and what"}


def test_strings_of_a_request_without_a_prompt_are_not_empty():
    """A document of nothing but empty strings looks like a mistake."""
    form = {"type": "json_schema", "json_schema": {"name": "item", "schema": SCHEMA}}
    assert said(prompt="", response_format=form) == {"name": "text"}


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (CHAT, {"response_format": {"type": "json_object"}}),
        ("/v1/responses", {"text": {"format": {"type": "json_object"}}}),
    ],
)
def test_any_document_tells_the_prompt_back(url, asked):
    """Without a schema any object will do (platform.openai.com/docs/guides/structured-outputs#json-mode)."""
    assert said(url, **asked) == {"heard": PROMPT}


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (CHAT, {"response_format": {"type": "text"}}),
        (CHAT, {"response_format": None}),
        ("/v1/responses", {"text": {"verbosity": "low"}}),
        ("/v1/images/generations", {"response_format": "b64_json"}),
    ],
)
def test_plain_text_stays_plain(url, asked):
    """Other formats than JSON are no documents."""
    assert echo(Request("r-1", url, {"model": "m"} | asked)).startswith("The emulator heard: ")


def test_sdk_reads_the_document_into_the_model(client):
    """So that structured outputs can be tried without a key."""
    form = {"type": "json_schema", "json_schema": {"name": "item", "schema": Item.model_json_schema()}}
    messages = [{"role": "user", "content": PROMPT}]
    answer = client.chat.completions.create(model=MODEL, messages=messages, response_format=form)
    assert Item.model_validate_json(answer.choices[0].message.content).colour is Colour.RED


def test_schemas_that_refer_to_each_other_stay_small():
    """Eight of them, each with a place for every other, would fill a megabyte."""
    names = [f"Kind{n}" for n in range(8)]
    optional = {name: {"anyOf": [{"$ref": f"#/$defs/{name}"}, {"type": "null"}]} for name in names}
    kind = {"type": "object", "properties": optional, "required": names}
    schema = {"$defs": dict.fromkeys(names, kind), "$ref": "#/$defs/Kind0"}
    assert len(json.dumps(document_for(schema, text="hello"))) < 10_000
