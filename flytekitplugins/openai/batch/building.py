"""Requests as dictionaries, for the endpoints that batches are mostly for. They hide nothing: what is given is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

if TYPE_CHECKING:
    import pydantic

    import openai
else:
    openai = lazy_module("openai")
    pydantic = lazy_module("pydantic")

__all__ = ["chat_completion_request", "embedding_request", "response_request"]

# https://platform.openai.com/docs/api-reference/chat/create#chat-create-response_format
LONGEST_NAME = 64


def chat_completion_request(
    custom_id: str,
    *,
    model: str,
    messages: str | Sequence[Mapping[str, Any]],
    response_format: type[pydantic.BaseModel] | Mapping[str, Any] | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """A line for `/v1/chat/completions`, the endpoint of `create_batch` unless its config names another.

    https://platform.openai.com/docs/api-reference/chat/create

    Args:
        custom_id: What the answer is known by; each request of an input has another.
        model: The name of the model.
        messages: The conversation; a text is one message of the user's.
        response_format: What the model must write: a Pydantic model, or the parameter itself.
        **parameters: Any other parameter of the endpoint, such as `temperature`.

    Raises:
        TypeError: `response_format` is neither, or `messages` is one message and not a list.
    """
    if isinstance(messages, Mapping):
        raise TypeError(f"messages must be a text or a list of messages, not one message: {messages!r}.")
    conversation = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    body = {"model": model, "messages": conversation, **parameters}
    if isinstance(response_format, Mapping):
        body["response_format"] = dict(response_format)
    elif response_format is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": _schema_of(response_format)}
    return _line(custom_id, "/v1/chat/completions", body)


def response_request(
    custom_id: str,
    *,
    model: str,
    input: str | Sequence[Mapping[str, Any]],  # noqa: A002 (the endpoint's own name for it)
    response_format: type[pydantic.BaseModel] | Mapping[str, Any] | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """A line for `/v1/responses`: the workflow's config must have `"endpoint": "/v1/responses"`.

    https://platform.openai.com/docs/api-reference/responses/create

    Args:
        custom_id: What the answer is known by; each request of an input has another.
        model: The name of the model.
        input: The text, or the items, to answer.
        response_format: What the model must write: a Pydantic model, or the endpoint's `text.format` itself.
        **parameters: Any other parameter of the endpoint, such as `instructions`.

    Raises:
        TypeError: `response_format` is neither.
    """
    body = {"model": model, "input": input if isinstance(input, str) else list(input), **parameters}
    if response_format is not None:
        if isinstance(response_format, Mapping):
            chosen = dict(response_format)
        else:
            chosen = {"type": "json_schema", **_schema_of(response_format)}
        body["text"] = {**(parameters.get("text") or {}), "format": chosen}
    return _line(custom_id, "/v1/responses", body)


def embedding_request(
    custom_id: str,
    *,
    model: str,
    input: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]],  # noqa: A002 (as above)
    **parameters: Any,
) -> dict[str, Any]:
    """A line for `/v1/embeddings`: the workflow's config must have `"endpoint": "/v1/embeddings"`.

    https://platform.openai.com/docs/api-reference/embeddings/create

    Args:
        custom_id: What the answer is known by; each request of an input has another.
        model: The name of the model.
        input: A text, its tokens, or several of either; a batch may have 50,000 of them.
        **parameters: Any other parameter of the endpoint, such as `dimensions`.
    """
    given = input if isinstance(input, str) else list(input)
    return _line(custom_id, "/v1/embeddings", {"model": model, "input": given, **parameters})


def _line(custom_id: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def _schema_of(model: Any) -> dict[str, Any]:
    """A Pydantic model as the API takes it: a name, and a JSON schema in its strict form.

    The SDK makes that form for responses it parses itself, by a function that is not public; but that of a tool's
    parameters is the same, and public.
    """
    if not isinstance(model, type) or not issubclass(model, pydantic.BaseModel):
        raise TypeError(f"response_format must be a Pydantic model or the parameter itself, not {model!r}.")
    function = openai.pydantic_function_tool(model)["function"]
    # A generic model is called `Box[int]`, and the API takes letters, digits, dashes and underscores.
    name = re.sub(r"[^\w-]", "_", function["name"], flags=re.ASCII)[:LONGEST_NAME]
    return {"name": name, "schema": function["parameters"], "strict": True}
