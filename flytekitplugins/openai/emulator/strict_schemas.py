"""Refuses schemas that strict structured outputs do not support."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flytekitplugins.openai._strict_schemas import problem_in

from .errors import error_body

__all__ = ["refusal_of"]


def refusal_of(form: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body of a 400 for a request's response format; `None` if the format is valid.

    Args:
        form: A chat's `response_format`, or a response's `text.format`.
    """
    # A chat has the schema in an object of its own. https://github.com/mavam/pi-web-providers/issues/14 for the other.
    is_chat = "json_schema" in form
    given = form["json_schema"] if is_chat else form
    schema = given.get("schema") if form.get("type") == "json_schema" and isinstance(given, Mapping) else None
    if not isinstance(schema, Mapping) or given.get("strict") is not True:
        return None
    problem = problem_in(schema)
    if problem is None:
        return None
    message = f"Invalid schema for response_format '{given.get('name')}': {problem}"
    code, param = (None, "response_format") if is_chat else ("invalid_json_schema", "text.format.schema")
    return error_body(400, message, code=code, param=param)
