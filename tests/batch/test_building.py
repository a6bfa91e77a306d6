import json
from typing import Generic, Literal, TypeVar

import pytest
from pydantic import BaseModel

from flytekitplugins.openai import chat_completion_request, embedding_request, response_request
from flytekitplugins.openai.batch.requests import Cutter
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


@pytest.mark.parametrize("wrong", [dict, Triage(team="billing"), "json_object"])
def test_response_format_that_is_neither_is_refused(wrong):
    """At once, and not by OpenAI a day later."""
    with pytest.raises(TypeError, match="response_format must be a Pydantic model or the parameter itself, not "):
        chat_completion_request("r-1", model="m", messages="Hi", response_format=wrong)


def test_generic_model_has_a_name_that_the_api_takes():
    """Pydantic puts brackets into it."""
    body = chat_completion_request("r-1", model="m", messages="Hi", response_format=Box[Triage])["body"]
    assert body["response_format"]["json_schema"]["name"] == "Box_Triage_"


def test_text_of_none_is_as_good_as_no_text():
    """Of a parameter that somebody passes on."""
    body = response_request("r-1", model="m", input="Hi", response_format={"type": "text"}, text=None)["body"]
    assert body["text"] == {"format": {"type": "text"}}


def test_single_message_is_no_conversation():
    """It would be sent as the list of its keys."""
    with pytest.raises(TypeError, match="messages must be a text or a list of messages, not one message"):
        chat_completion_request("r-1", model="m", messages={"role": "user", "content": "Hi"})


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
    [*_, done] = Cutter(json.loads(lines)["url"]).cut(lambda: [lines])
    assert done.shard.requests == 1
