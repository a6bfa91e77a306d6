"""What a task's config holds as arguments of the SDK's functions: after its way through Flyte, for any release."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["call_arguments", "whole_numbers"]


def whole_numbers(value: Any) -> Any:
    """`value` with its whole numbers as integers again: a protobuf Struct, in which they travel, knows only floats."""
    if isinstance(value, Mapping):
        return {name: whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def call_arguments(request: Mapping[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """The request as arguments for `function`, one of the SDK's.

    An argument that this release of the SDK has no name for goes into the body as it is, because the API grows faster
    than the SDK of a deployment.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        # A stand-in of somebody's test, of which Python 3.10 cannot tell the parameters.
        return dict(request)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(request)
    named = {name: value for name, value in request.items() if name in parameters}
    others = {name: value for name, value in request.items() if name not in parameters}
    return {**named, "extra_body": {**others, **(named.get("extra_body") or {})}} if others else named
