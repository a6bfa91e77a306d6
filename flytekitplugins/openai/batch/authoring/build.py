"""Builds the requests of the common endpoints as dictionaries. Every parameter is sent as it is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

from .json_values import all_texts, plain, plain_parameters
from .response_format import checked_form, schema_of

if TYPE_CHECKING:
    import pydantic

    import openai
else:
    openai = lazy_module("openai")
    pydantic = lazy_module("pydantic")

__all__ = ["chat_completion_request", "embedding_request", "response_request"]


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
        response_format: What the model must write: a Pydantic model, or the parameter itself. OpenAI follows the
            model strictly, which it can for a part of JSON Schema alone.
        **parameters: Any other parameter of the endpoint, such as `temperature`.

    Raises:
        TypeError: `response_format` is neither, or `messages` is no list of messages, such as one message alone; or
            `custom_id` is no text; or a parameter has no form in JSON.
        ValueError: The Pydantic model has something in it that OpenAI cannot follow strictly; or something is empty
            that must not be, or a number that JSON has not, or `stream` is set.
    """
    body = {"model": model, "messages": _conversation(messages), **(parameters and plain_parameters(parameters))}
    if isinstance(response_format, Mapping):
        body["response_format"] = checked_form(response_format, nested=True)
    elif response_format is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": schema_of(response_format)}
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
        TypeError: `response_format` is neither, or `input` is no list, such as one item alone; or there is a
            `response_format` and a `text` that it cannot stand in; or `custom_id` is no text.
        ValueError: The Pydantic model has something in it that OpenAI cannot follow strictly.
    """
    body = {"model": model, "input": _input(input), **(parameters and plain_parameters(parameters))}
    if response_format is not None:
        if isinstance(response_format, Mapping):
            chosen = checked_form(response_format, nested=False)
        else:
            chosen = {"type": "json_schema", **schema_of(response_format)}
        text = parameters.get("text") or {}
        if not isinstance(text, Mapping):
            raise TypeError(f"text must be a dictionary, to which the response_format is added, not {text!r}.")
        body["text"] = {**text, "format": chosen}
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

    Raises:
        TypeError: `input` is neither a text nor a list; or `custom_id` is no text.
    """
    body = {"model": model, "input": _input(input), **(parameters and plain_parameters(parameters))}
    return _line(custom_id, "/v1/embeddings", body)


def _line(custom_id: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    if type(custom_id) is not str or not custom_id:
        custom_id = _checked_id(custom_id)
    model = body["model"]
    if not isinstance(model, str) or not model:
        raise ValueError(f"model must be the name of a model, not {model!r}.")
    if body.get("stream"):
        raise ValueError("stream must be left out: a batch does not stream.")
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def _checked_id(custom_id: object) -> str:
    if not isinstance(custom_id, str):
        raise TypeError(f"custom_id must be a string, not {custom_id!r}; str(...) converts a number.")
    if not custom_id:
        raise ValueError("custom_id must not be empty: results are matched by it.")
    return str(custom_id)


def _text_or_list(name: str, given: Any) -> Any:
    """What an endpoint takes as its input, in a list of its own; the keys of a dictionary would be another list."""
    if type(given) is list:
        given = given.copy()
    elif not isinstance(given, str):
        if isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
            raise TypeError(f"{name} must be a string or a list, not {given!r}.")
        given = list(given)
    if not given:
        raise ValueError(f"{name} must not be empty: the model would have nothing to answer.")
    return given


def _input(given: Any) -> Any:
    # There may be a million, and most are one text.
    if type(given) is str and given:
        return given
    return plain(_text_or_list("input", given), "input")


def _conversation(messages: Any) -> list[Any]:
    """Messages as the endpoint takes them: each says whose it is."""
    # As above.
    if type(messages) is str and messages:
        return [{"role": "user", "content": messages}]
    given = _text_or_list("messages", messages)
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    conversation: list[Any] = given
    for number, message in enumerate(conversation):
        if type(message) is dict and "role" in message and all_texts(message):
            continue
        if not _is_message(message):
            raise TypeError(
                f"messages[{number}] must be a dictionary with a role, such as {{'role': 'user', 'content': 'Hi'}}, "
                f"not {message!r}."
            )
        conversation[number] = plain(message, f"messages[{number}]")
    return conversation


def _is_message(given: Any) -> bool:
    """Whether this is one of any kind: also one of the SDK's models."""
    return callable(getattr(given, "model_dump", None)) or (
        isinstance(given, Mapping) and isinstance(given.get("role"), str)
    )
