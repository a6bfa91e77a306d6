"""The parameters of a call, checked as strictly as OpenAI does and refused with the codes of its own refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from .errors import ApiError, invalid_type, invalid_value, missing_parameter

__all__ = [
    "choice",
    "json_object",
    "lifetime_of",
    "metadata_of",
    "only_known",
    "page_limit",
    "required",
    "whole_number",
]

# Both kinds of expiry take between an hour and 30 days, in seconds.
EXPIRY_RANGE = range(3_600, 2_592_000 + 1)
# https://platform.openai.com/docs/api-reference/batch/object#batch/object-metadata
METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object that is the body of a call."""
    try:
        given = await request.json()
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ApiError(400, "We could not parse the JSON body of your request.")
    return given


def required(given: Mapping[str, Any], name: str) -> Any:
    """A parameter that must be there."""
    if given.get(name) is None:
        raise missing_parameter(name)
    return given[name]


def only_known(given: Mapping[str, Any], *names: str) -> None:
    """Refuse parameters that the call does not have."""
    for name in given:
        if name not in names:
            raise ApiError(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def choice(given: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    """A parameter that has one of a few values."""
    value: str = required(given, name)
    if value not in choices:
        raise invalid_value(name, value, f"one of {', '.join(map(repr, choices))}")
    return value


def page_limit(query: Mapping[str, str], *, default: int, most: int) -> int:
    """How many entries a page of a list may have."""
    given = query.get("limit", str(default))
    limit = whole_number(given)
    if limit is None or not 1 <= limit <= most:
        raise invalid_value("limit", given, f"a whole number from 1 to {most}")
    return limit


def whole_number(text: str) -> int | None:
    """The number that `text` writes in plain digits; `str.isdigit` also takes some that `int` does not."""
    return int(text) if text.isascii() and text.isdigit() else None


def lifetime_of(given: Any, name: str) -> float:
    """Seconds after which a file expires."""
    if not isinstance(given, dict) or set(given) != {"anchor", "seconds"} or given["anchor"] != "created_at":
        raise invalid_value(name, given, "an object with anchor 'created_at' and seconds")
    seconds = given["seconds"]
    if not isinstance(seconds, int) or seconds not in EXPIRY_RANGE:
        raise invalid_value(
            f"{name}.seconds", seconds, f"a whole number from {EXPIRY_RANGE.start} to {EXPIRY_RANGE.stop - 1}"
        )
    return seconds


def metadata_of(given: Any) -> dict[str, str] | None:
    """Checked metadata; the refusals are worded as in https://github.com/spiceai/docs/issues/928 and its like."""
    if given is None:
        return None
    if not isinstance(given, dict):
        raise invalid_type("metadata", given, "an object")
    if len(given) > METADATA_PAIRS:
        raise ApiError(
            400,
            f"Invalid 'metadata': too many properties. Expected an object with at most {METADATA_PAIRS} properties, "
            f"but got an object with {len(given)} properties instead.",
            code="object_above_max_properties",
            param="metadata",
        )
    for key, value in given.items():
        _not_longer(key, METADATA_KEY, "metadata")
        if not isinstance(value, str):
            raise invalid_type(f"metadata.{key}", value, "a string")
        _not_longer(value, METADATA_VALUE, f"metadata.{key}")
    return given


def _not_longer(text: str, most: int, param: str) -> None:
    if len(text) > most:
        raise ApiError(
            400,
            f"Invalid '{param}': string too long. Expected a string with maximum length {most}, "
            f"but got a string with length {len(text)} instead.",
            code="string_above_max_length",
            param=param,
        )
