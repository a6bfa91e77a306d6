import dataclasses
import datetime as dt
import decimal
import enum
import json
import re
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, TypeVar

import numpy as np
import pytest
from pydantic import BaseModel, Field, HttpUrl, RootModel, create_model

from flytekitplugins.openai import chat_completion_request, embedding_request, response_request
from flytekitplugins.openai.batch.authoring.response_format import LONGEST_NAME
from flytekitplugins.openai.batch.requests.sharding import Sharder
from tests.builders import make_jsonl

T = TypeVar("T")


class Triage(BaseModel):
    """Where a ticket goes."""

    team: Literal["billing", "delivery"]
    note: str | None = None


class Box(BaseModel, Generic[T]):
    content: T


SCHEMA_KEYS = {"name", "schema", "strict"}


def test_chat_completion_is_a_line():
    """What the API's documentation shows, and nothing else."""
    assert chat_completion_request("r-1", model="gpt-4o-mini", messages="Hi", temperature=0) == {
        "custom_id": "r-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0},
    }


def test_conversation_is_taken_as_it_is():
    """And the caller's list is not shared."""
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    body = chat_completion_request("r-1", model="m", messages=messages)["body"]
    assert body["messages"] == messages
    assert body["messages"] is not messages


def test_response_is_a_line():
    """It has an input where a chat has messages."""
    request = response_request("r-1", model="gpt-5", input="Hi", instructions="Be brief.")
    assert (request["url"], request["body"]) == (
        "/v1/responses",
        {"model": "gpt-5", "input": "Hi", "instructions": "Be brief."},
    )


@pytest.mark.parametrize("given", ["text", ["one", "two"], [1, 2], [[1], [2, 3]]])
def test_embedding_is_a_line(given):
    """Of a text, its tokens, or several of either."""
    request = embedding_request("r-1", model="text-embedding-3-small", input=given, dimensions=8)
    assert (request["url"], request["body"]["input"]) == ("/v1/embeddings", given)


def test_pydantic_model_becomes_a_strict_schema_of_a_chat():
    """Every field required, and no other allowed: https://platform.openai.com/docs/guides/structured-outputs."""
    body = chat_completion_request("r-1", model="m", messages="Hi", response_format=Triage)["body"]
    assert body["response_format"]["type"] == "json_schema"
    given = body["response_format"]["json_schema"]
    assert (given["name"], given["strict"], set(given)) == ("Triage", True, SCHEMA_KEYS)
    assert given["schema"]["required"] == ["team", "note"]
    assert given["schema"]["additionalProperties"] is False


def test_pydantic_model_becomes_a_strict_schema_of_a_response():
    """It stands beside what else is said of the text."""
    body = response_request("r-1", model="m", input="Hi", response_format=Triage, text={"verbosity": "low"})["body"]
    assert body["text"]["verbosity"] == "low"
    assert set(body["text"]["format"]) == {"type", *SCHEMA_KEYS}
    assert body["text"]["format"]["schema"]["properties"]["team"]["enum"] == ["billing", "delivery"]


@pytest.mark.parametrize("build", [chat_completion_request, response_request])
def test_response_format_may_be_the_parameter_itself(build):
    """Nothing is hidden from who knows the API."""
    given = {"type": "json_object"}
    text = {"messages": "Hi"} if build is chat_completion_request else {"input": "Hi"}
    body = build("r-1", model="m", response_format=given, **text)["body"]
    assert (body.get("response_format") or body["text"]["format"]) == given


def test_schema_of_a_request_is_its_own():
    """All requests share one schema object, but changing it in one request does not change the others."""
    first, second = (
        chat_completion_request("r-1", model="m", messages="Hi", response_format=Triage)["body"] for _ in range(2)
    )
    first["response_format"]["json_schema"]["schema"]["properties"].clear()
    assert second["response_format"]["json_schema"]["schema"]["properties"]


class Node(BaseModel):
    name: str
    children: list["Node"]


def test_model_that_refers_to_itself_is_a_format():
    """OpenAI follows it as deep as it goes."""
    chat_completion_request("r-1", model="m", messages="Hi", response_format=Node)


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (dict[str, int], "In context=('properties', 'field'), 'additionalProperties' is required to be supplied and"),
        (Any, "In context=('properties', 'field'), schema must have a 'type' key"),
        (tuple[int, str], "In context=('properties', 'field'), array schema missing items"),
        (set[int], "In context=('properties', 'field'), 'uniqueItems' is not permitted"),
    ],
)
@pytest.mark.parametrize("build", [chat_completion_request, response_request])
def test_model_that_cannot_be_followed_strictly_is_refused(build, kind, problem):
    """At once, and not by OpenAI a day later, request by request."""
    text = {"messages": "Hi"} if build is chat_completion_request else {"input": "Hi"}
    with pytest.raises(ValueError, match=f"^Form cannot be a response_format, .*{re.escape(problem)}"):
        build("r-1", model="m", response_format=create_model("Form", field=(kind, ...)), **text)


@pytest.mark.parametrize("build", [chat_completion_request, response_request])
def test_bare_schema_is_no_format(build):
    """What `model_json_schema` gives is a part of one."""
    text = {"messages": "Hi"} if build is chat_completion_request else {"input": "Hi"}
    with pytest.raises(TypeError, match="response_format is a bare JSON schema; pass the class of the Pydantic model"):
        build("r-1", model="m", response_format=Triage.model_json_schema(), **text)


class Tree(BaseModel):
    children: list[Annotated["Tree", Field(description="Those below.")]]


def test_model_that_the_sdk_makes_no_end_of_is_refused():
    """The SDK inlines a field with a description, which never ends for a recursive model."""
    with pytest.raises(
        ValueError, match="Tree cannot be a response_format, because it refers to itself in a field with"
    ):
        chat_completion_request("r-1", model="m", messages="Hi", response_format=Tree)


@pytest.mark.parametrize("kind", ["Nothing", Callable[[], int]])
def test_model_without_a_schema_is_refused(kind):
    """Pydantic says why there is none."""
    model = create_model("Form", field=(kind, ...))
    with pytest.raises(ValueError, match="Form cannot be a response_format: "):
        chat_completion_request("r-1", model="m", messages="Hi", response_format=model)


def test_model_of_a_list_is_refused():
    """An answer is an object."""
    with pytest.raises(ValueError, match="schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'"):
        chat_completion_request("r-1", model="m", messages="Hi", response_format=RootModel[list[int]])


@pytest.mark.parametrize("wrong", [list[int], dict, Triage(team="billing"), "json_object"])
def test_response_format_that_is_neither_is_refused(wrong):
    """At once, and not by OpenAI a day later."""
    with pytest.raises(TypeError, match="response_format must be a Pydantic model, or "):
        chat_completion_request("r-1", model="m", messages="Hi", response_format=wrong)


def test_generic_model_has_a_name_that_the_api_takes():
    """Pydantic puts brackets into it, Python takes letters of any language, and neither has a limit."""
    models = Box[Triage], create_model("Größe", size=(int, ...)), create_model("M" * 65, size=(int, ...))
    bodies = [chat_completion_request("r", model="m", messages="Hi", response_format=model)["body"] for model in models]
    names = [body["response_format"]["json_schema"]["name"] for body in bodies]
    assert names == ["Box_Triage_", "Gr__e", "M" * LONGEST_NAME]


def test_text_of_none_is_as_good_as_no_text():
    """A wrapper may pass its own optional parameter on."""
    body = response_request("r-1", model="m", input="Hi", response_format={"type": "text"}, text=None)["body"]
    assert body["text"] == {"format": {"type": "text"}}


@pytest.mark.parametrize("wrong", [{"role": "user", "content": "Hi"}, b"Hi", 5, None])
@pytest.mark.parametrize(
    ("build", "name"),
    [(chat_completion_request, "messages"), (response_request, "input"), (embedding_request, "input")],
)
def test_input_that_is_no_list_is_refused(build, name, wrong):
    """A message by itself would be sent as the list of its keys."""
    with pytest.raises(TypeError, match=f"{name} must be a string or a list, not "):
        build("r-1", model="m", **{name: wrong})


@pytest.mark.parametrize("build", [chat_completion_request, response_request, embedding_request])
def test_number_is_no_custom_id(build):
    """It is the key of a database most often, and every line would be refused by the upload step."""
    given = {"messages": "Hi"} if build is chat_completion_request else {"input": "Hi"}
    with pytest.raises(TypeError, match="custom_id must be a string, not 7; "):
        build(7, model="m", **given)


def test_text_that_the_format_cannot_stand_in_is_refused():
    """The endpoint has a dictionary there."""
    with pytest.raises(TypeError, match="text must be a dictionary, to which the response_format is added, not 'low'"):
        response_request("r-1", model="m", input="Hi", response_format=Triage, text="low")


def test_what_was_passed_in_is_not_shared():
    """A list or a format that is changed later is not that of the request."""
    given, chosen = ["Hi"], {"type": "json_object"}
    request = response_request("r-1", model="m", input=given, response_format=chosen)
    given.append("Ho")
    chosen.clear()
    assert request["body"] == {"model": "m", "input": ["Hi"], "text": {"format": {"type": "json_object"}}}


@pytest.mark.parametrize(
    ("build", "arguments"),
    [
        (chat_completion_request, {"messages": "Hi", "response_format": Triage}),
        (response_request, {"input": "Hi", "response_format": Triage}),
        (embedding_request, {"input": ["Hi"]}),
    ],
)
def test_what_is_built_passes_the_check(build, arguments):
    """The upload step takes it as it is."""
    lines = make_jsonl([build("r-1", model="m", **arguments)])
    [*_, done] = Sharder(json.loads(lines)["url"]).cut(lambda: [lines])
    assert done.shard.requests == 1


# Values


class Level(enum.Enum):
    LOW = "low"


@dataclasses.dataclass
class Point:
    x: float
    when: dt.date


DAY = dt.date(2026, 1, 2)
ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (np.int64(5), 5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([[1.0, 2.0]]), [[1.0, 2.0]]),
        (np.str_("x"), "x"),
        (decimal.Decimal("0.50"), 0.5),
        (decimal.Decimal(7), 7),
        (DAY, "2026-01-02"),
        (dt.datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
        (ID, "00000000-0000-0000-0000-000000000007"),
        (Level.LOW, "low"),
        (Triage(team="billing"), {"team": "billing", "note": None}),
        (Point(1.5, DAY), {"x": 1.5, "when": "2026-01-02"}),
        ({"a": (1, {"b": np.int64(2)})}, {"a": [1, {"b": 2}]}),
    ],
    ids=repr,
)
def test_value_with_one_form_in_json_is_sent_in_it(value, sent):
    """flytekit would fail on the line, and say neither which nor where."""
    body = chat_completion_request("r", model="m", messages="Hi", given=value)["body"]
    assert json.dumps(body["given"]) == json.dumps(sent)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"a": {"b": [1, b"x"]}}, "a.b[1] cannot be sent as JSON: it is of type bytes."),
        ({"a": {1, 2}}, "a cannot be sent as JSON: it is of type set."),
        ({"a": {"b": {3: 4}}}, "a.b cannot be sent as JSON: its keys must be strings, not 3."),
        ({"top_p": float("nan")}, "top_p cannot be sent as JSON, which has no number nan."),
        ({"a": [np.float64("inf")]}, "a[0] cannot be sent as JSON, which has no number inf."),
        ({"a": object}, "a cannot be sent as JSON: it is of type type."),
        (
            {"messages": [{"role": "user", "content": b"Hi"}]},
            "messages[0].content cannot be sent as JSON: it is of type bytes.",
        ),
    ],
    ids=repr,
)
def test_value_without_a_form_in_json_is_refused_by_its_path(arguments, told):
    """Where the request is written, and not where a million of them are read."""
    with pytest.raises((TypeError, ValueError)) as raised:
        chat_completion_request("r", **{"model": "m", "messages": "Hi", **arguments})
    assert str(raised.value) == told


def test_values_of_the_caller_are_not_changed():
    """They may be used for the next request."""
    messages, options = [{"role": "user", "content": np.str_("Hi")}], {"a": (1, 2)}
    chat_completion_request("r", model="m", messages=messages, options=options)
    assert type(messages[0]["content"]) is np.str_
    assert options == {"a": (1, 2)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"custom_id": ""}, "custom_id must not be empty"),
        ({"model": ""}, "model must be the name of a model, not ''"),
        ({"model": None}, "model must be the name of a model, not None"),
        ({"stream": True}, "stream must be left out"),
        ({"messages": []}, "messages must not be empty"),
        ({"messages": ""}, "messages must not be empty"),
        ({"messages": ["Hi"]}, "messages[0] must be a dictionary with a role"),
        ({"messages": [{"content": "Hi"}]}, "messages[0] must be a dictionary with a role"),
        ({"response_format": {"type": "yaml"}}, "response_format must have one of the types text, json_object"),
        ({"response_format": {"type": "json_schema"}}, "json_schema must be a dictionary with a name"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "The schema of json_schema must be",
        ),
        ({"response_format": {"properties": {}}}, "response_format is a bare JSON schema"),
    ],
    ids=repr,
)
def test_request_that_cannot_run_is_refused_where_it_is_written(arguments, told):
    """Each would cost the upload, or the whole batch."""
    with pytest.raises((TypeError, ValueError), match=re.escape(told)):
        chat_completion_request(**{"custom_id": "r", "model": "m", "messages": "Hi", **arguments})


@pytest.mark.parametrize("given", [{"type": "json_schema"}, {"type": "json_schema", "name": "x", "schema": "y"}])
def test_text_format_that_cannot_run_is_refused(given):
    """The same of a response, whose form lies flat."""
    with pytest.raises(ValueError, match=r"^(response_format must|The schema of response_format)"):
        response_request("r", model="m", input="Hi", response_format=given)


# Schemas that OpenAI would refuse without need


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    friend: "Pet | None" = None


class Pet(BaseModel):
    animal: Annotated[Cat | Dog, Field(discriminator="kind")]


class Shelter(BaseModel):
    animals: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    pets: list[Pet]


def schema_of(model):
    body = chat_completion_request("r", model="m", messages="Hi", response_format=model)["body"]
    return body["response_format"]["json_schema"]["schema"]


@pytest.mark.parametrize("model", [Pet, Shelter])
def test_discriminated_union_is_any_of_its_parts(model):
    """Each has a constant of its own, so that it means the same; and `oneOf` is refused."""
    text = json.dumps(schema_of(model))
    assert '"anyOf"' in text
    assert not {"oneOf", "discriminator", "default"} & set(re.findall(r'"(\w+)":', text))


def test_pattern_with_look_around_is_reported_in_words():
    """OpenAI refuses it, so it moves to the description, and Pydantic still checks it; other patterns stay."""
    model = create_model(
        "Form",
        code=(Annotated[str, Field(json_schema_extra={"pattern": "^(?!x)y"}, description="The code.")], ...),
        plain=(Annotated[str, Field(pattern="^a")], ...),
        price=(decimal.Decimal, ...),
        page=(HttpUrl, ...),
    )
    properties = schema_of(model)["properties"]
    assert properties["code"]["description"] == "The code. It must match the regular expression ^(?!x)y."
    assert "pattern" not in properties["code"]
    assert properties["plain"]["pattern"] == "^a"
    assert properties["page"]["description"] == "Its format is uri."
    assert "format" not in properties["page"]
    assert not re.search(r"\(\?[=!<]", json.dumps([part.get("pattern") for part in properties["price"]["anyOf"]]))


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        (dict[str, int], "for field 'field' use a list of pairs instead of a dictionary with arbitrary keys"),
        (tuple[int, str], "for field 'field' use a list or a model instead of a tuple"),
        (Any, "for field 'field' use a specific type instead of Any"),
    ],
)
def test_field_that_stays_refused_says_what_to_write(kind, remedy):
    """So that users need not know OpenAI's rules."""
    with pytest.raises(ValueError, match=re.escape(f"; {remedy}, or pass the parameter itself")):
        schema_of(create_model("Form", field=(kind, ...)))
