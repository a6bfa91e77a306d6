"""Reads objects of result lines tolerantly: what has the wrong type counts as empty."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from flytekitplugins.openai._nesting import is_nested_deeper

__all__ = ["body_of", "mapping_in", "mappings_in", "object_in", "whole_number"]


_decode = msgspec.json.Decoder().decode
# More than any answer has. To nest them takes a bracket each.
MOST_LEVELS = 100


def object_in(line: bytes, *, errors: str = "strict") -> Mapping[str, Any]:
    """The object that a line holds; an empty one if it holds none, or one that is nested too deeply.

    Args:
        line: The line, perhaps with the mark with which some programs begin a file.
        errors: How bytes that are not UTF-8 are handled, as in `bytes.decode`.
    """
    found = mapping_in(_json_in(line, errors))
    is_flat = line.count(b"[") + line.count(b"{") <= MOST_LEVELS
    return found if is_flat or not is_nested_deeper(found, MOST_LEVELS) else {}


def _json_in(line: bytes, errors: str) -> object:
    try:
        # A fifth of the time; what it refuses, the other may read: a byte order mark, NaN, a lone surrogate.
        return _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return json.loads(line.decode("utf-8-sig", errors))
    except (ValueError, RecursionError):
        return None


def body_of(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body of the answer in a line's object; an empty one if there was no answer."""
    body = mapping_in(found.get("response")).get("body")
    # Some servers write the body as a text that holds JSON.
    return object_in(body.encode(errors="replace")) if isinstance(body, str) else mapping_in(body)


def mappings_in(value: object) -> list[Mapping[str, Any]]:
    """The objects in a list; none if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def mapping_in(value: object) -> Mapping[str, Any]:
    """The value if it is an object, else an empty one."""
    # JSON has no other mappings, and to ask for any takes ten times as long.
    return value if isinstance(value, dict) else {}


def whole_number(value: object) -> int | None:
    """The value if it is a whole number of at most 64 bits, also as a text or a float; else `None`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) <= sys.maxsize else None
