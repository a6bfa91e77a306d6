"""What a task asks for, as the arguments that create its batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["creation_arguments"]

DEFAULTS = {"completion_window": "24h", "endpoint": "/v1/chat/completions"}


def creation_arguments(config: Mapping[str, Any], create: Callable[..., Any]) -> dict[str, Any]:
    """The task's `config` as arguments for `create`, the SDK's function; `config` itself is left as it is.

    An argument that this release of the SDK has no name for goes into the body as it is, because the API grows faster
    than the SDK of a deployment.
    """
    arguments: dict[str, Any] = {**DEFAULTS, **_whole_numbers(config)}
    try:
        parameters = inspect.signature(create).parameters
    except (TypeError, ValueError):
        # A stand-in of somebody's test, of which Python 3.10 cannot tell the parameters.
        return arguments
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return arguments
    named = {name: value for name, value in arguments.items() if name in parameters}
    others = {name: value for name, value in arguments.items() if name not in parameters}
    return {**named, "extra_body": {**others, **named.get("extra_body", {})}} if others else named


def _whole_numbers(value: Any) -> Any:
    """`value` with its whole numbers as integers again: a protobuf Struct, in which they travel, knows only floats."""
    if isinstance(value, Mapping):
        return {name: _whole_numbers(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
