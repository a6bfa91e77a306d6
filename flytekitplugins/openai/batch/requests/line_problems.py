"""Says in detail what is wrong with a request, for a line that the quick check did not pass."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .endpoints import CHAT_COMPLETIONS, MODERATIONS, NEEDED, canonical_endpoint

__all__ = ["problems_of", "refuse_constant", "syntax_problem"]


def refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python reads as numbers and JSON does not have."""
    raise ValueError(f"{name} is not a JSON number")


def syntax_problem(error: ValueError | RecursionError) -> str:
    """Why a line is not valid JSON."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno:,}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start + 1:,} is not UTF-8"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def problems_of(request: dict[str, Any], endpoint: str | None) -> Iterator[tuple[str, str]]:
    """What is wrong with a request, each as a kind and a detail.

    Args:
        request: The object of a line.
        endpoint: The endpoint that every request must go to; `None` if it is not known yet.
    """
    custom_id, body = request.get("custom_id"), request.get("body")
    if custom_id is None or custom_id == "":
        yield "has no custom_id", "a string" if custom_id is None else "it is ''"
    elif not isinstance(custom_id, str):
        yield "has a custom_id that is not a string", f"it is {custom_id!r}"
    method, url = request.get("method"), request.get("url")
    if method is None:
        yield "has no method", "'POST'"
    elif method != "POST":
        yield "has a method other than POST", f"{method!r}"
    yield from _problems_of_url(url, endpoint)
    if not isinstance(body, dict):
        yield "has no body", "an object" if body is None else f"it is of type {type(body).__name__}"
        return
    canonical = canonical_endpoint(endpoint) if endpoint else ""
    model = body.get("model")
    if not (isinstance(model, str) and model) and not (model is None and canonical == MODERATIONS):
        yield "has no model in its body", "a string" if model is None else f"it is {model!r}"
    if canonical in NEEDED:
        yield from _problems_of_input(body.get(NEEDED[canonical]), NEEDED[canonical])
    if body.get("stream"):
        yield "asks for a stream", "a batch cannot stream"


def _problems_of_url(url: Any, endpoint: str | None) -> Iterator[tuple[str, str]]:
    if isinstance(url, str) and "://" in url:
        yield "has an absolute url", f"{url!r}; write the path alone, such as '/v1/chat/completions'"
    elif not isinstance(url, str) or not url:
        yield "has no url", f"{endpoint or CHAT_COMPLETIONS!r}" if url is None else f"it is {url!r}"
    elif endpoint is not None and canonical_endpoint(url) != canonical_endpoint(endpoint):
        remedy = f"config={{'endpoint': {url!r}}} would make the batch one for this url"
        yield "has a url that is not the endpoint", f"{url!r}, and the batch is for {endpoint!r}; {remedy}"


def _problems_of_input(given: Any, name: str) -> Iterator[tuple[str, str]]:
    """What a model is asked: messages are a list, and any other input may be a text, too; neither may be empty."""
    is_text = isinstance(given, str) and name != "messages"
    if not given or not (is_text or isinstance(given, list)):
        form = "a list" if name == "messages" else "a string or a list"
        yield f"has no {name} in its body", form if given is None else f"it is {given!r}, and must be {form}"
