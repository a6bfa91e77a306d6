"""What a task's config holds as arguments of the SDK's functions: after its way through Flyte, for any release."""

from __future__ import annotations

import argparse
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ._text import shortened

__all__ = ["amount", "call_arguments", "check_arguments", "is_positive", "token_limit", "token_limits", "whole_numbers"]

# Options of the SDK itself, which are not parameters of the API, with an example of each.
# https://github.com/openai/openai-python#undocumented-params
EXTRAS = {
    "extra_headers": {"X-Team": "search"},
    "extra_query": {"api-version": "preview"},
    "extra_body": {"top_k": 5},
}
# https://www.rfc-editor.org/rfc/rfc9110#name-tokens
HEADER_NAME = re.compile(r"[!#$%&'*+.^`|~\w-]+", re.ASCII)
LONGEST_VALUE = 100
# Headers by which a task would choose the host that its call and the key go to, or where one call of a connection ends
# and the next begins. https://www.rfc-editor.org/rfc/rfc9110
HEADERS_OF_HTTP = frozenset(
    [
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade"),
    ]
)


def token_limit(text: str) -> tuple[str, int]:
    """A command's argument `[MODEL=]N`: a model, "" for each of them, and its number of tokens.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    model, _, number = text.rpartition("=")
    digits = number.replace(",", "").replace("_", "")
    if not digits.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens, such as 2000000 or gpt-4o=90000")
    return model, int(digits)


def amount(text: str) -> float:
    """A command's argument that is an amount of money.

    Raises:
        argparse.ArgumentTypeError: It is none, or not above 0.
    """
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount above 0")
    return found


def token_limits(given: Sequence[tuple[str, int]] | None) -> int | dict[str, int] | None:
    """Several such arguments as one: a number for each model, or a dictionary of those that are named."""
    by_model = dict(given or [])
    return by_model.get("", by_model or None)


def check_arguments(config: Mapping[str, Any], *, where: str) -> None:
    """Check that the SDK takes a config; its own refusal is a bare `TypeError`.

    What the API's own parameters may be is the API's to say.

    Args:
        config: A task's.
        where: What the config is called, after "the".

    Raises:
        ValueError: It cannot.
    """
    try:
        json.dumps(whole_numbers(config), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The {where} cannot be sent as JSON ({error}); give it plain values.") from None
    for name, example in EXTRAS.items():
        extra = config.get(name)
        if extra and not isinstance(extra, Mapping):
            raise ValueError(_wrong(name, where, f"be a dictionary, as in {example!r}", extra))
    for name, value in (config.get("extra_headers") or {}).items():
        # The SDK reports a space at an end as a lost connection.
        is_sendable = (
            isinstance(value, str) and value == value.strip() and value.isascii() and value.expandtabs().isprintable()
        )
        if not HEADER_NAME.fullmatch(str(name)) or not is_sendable:
            raise ValueError(_wrong("extra_headers", where, "have plain strings as names and values", {name: value}))
        if name.lower() in HEADERS_OF_HTTP:
            raise ValueError(_wrong("extra_headers", where, "have no headers of HTTP itself", {name: value}))
    if config.get("timeout") is not None and not is_positive(config["timeout"]):
        raise ValueError(_wrong("timeout", where, "be a positive number of seconds", config["timeout"]))


def is_positive(value: object) -> bool:
    """Whether a value is a positive number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def whole_numbers(value: Any) -> Any:
    """`value` with whole numbers as integers again: a protobuf Struct, in which they travel, has only floats."""
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
        # A mock in a user's test, whose parameters Python 3.10 does not know.
        return dict(request)
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(request)
    named = {name: value for name, value in request.items() if name in parameters}
    others = {name: value for name, value in request.items() if name not in parameters}
    return {**named, "extra_body": {**others, **(named.get("extra_body") or {})}} if others else named


def _wrong(name: str, where: str, must: str, value: object) -> str:
    return f"The {name} of the {where} must {must}, not {shortened(repr(value), LONGEST_VALUE)}."
