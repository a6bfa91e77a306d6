"""Finds the answer in the body of a response, for each endpoint and for compatible servers."""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flytekitplugins.openai._text import whole

from .lines import CUT_OFF

__all__ = [
    "ToolCall",
    "candidates",
    "finish_reasons",
    "packed_vector_in",
    "shortcomings",
    "texts_in",
    "tool_calls_in",
    "vector_in",
]

# Around a text that is one Markdown code block, as models write JSON that are not asked for it strictly.
FENCE = "```"
LANGUAGE = re.compile(r"[\w-]*[ \t]*")
FLOAT_BYTES = 4


@dataclass(frozen=True)
class ToolCall:
    """A tool that the model asks for.

    Attributes:
        name: The tool's.
        arguments: What it is to be called with, as the model wrote it: JSON, if the model did as it was asked.
    """

    name: str
    arguments: str


def texts_in(body: Mapping[str, Any]) -> list[list[str]]:
    """What the model wrote: the parts of each answer, from a completion or a response."""
    choices = [_of_choice(choice) for choice in _objects(body.get("choices"))]
    parts = [text for part in _parts(body) if part.get("type") == "output_text" for text in _plain(part.get("text"))]
    return [*choices, *([parts] if parts else [])]


def candidates(body: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The text of the first answer, and its parts one by one, where it has several: one may be the whole of it.

    Of 233,124 responses, 557 had several output items: a fragment, and then the whole answer.
    https://github.com/opentargets/mira/pull/70

    Raises:
        ValueError: There is neither a text nor exactly one tool call.
    """
    parts = next(iter(texts_in(body)), [])
    if parts:
        return _unfenced("".join(parts)), [_unfenced(part) for part in parts] if len(parts) > 1 else []
    calls = tool_calls_in(body)
    if len(calls) == 1:
        return calls[0].arguments, []
    raise ValueError(f"the answer has {len(calls)} tool calls" if calls else "the answer has no text")


def tool_calls_in(body: Mapping[str, Any]) -> list[ToolCall]:
    """The tools that the model asks for in its first answer."""
    choice = next(iter(_objects(body.get("choices"))), {})
    asked = [_object(call.get("function")) for call in _objects(_object(choice.get("message")).get("tool_calls"))]
    asked += [item for item in _objects(body.get("output")) if item.get("type") == "function_call"]
    return [ToolCall(str(call.get("name") or ""), _arguments(call.get("arguments"))) for call in asked]


def vector_in(body: Mapping[str, Any]) -> list[float] | None:
    """The first vector of an answer of embeddings, be it numbers, or base64 of 32-bit floats as the SDK asks for."""
    given, packed = _embedding_in(body), packed_vector_in(body)
    if packed is None or isinstance(given, list):
        return given if packed and isinstance(given, list) else None
    return list(struct.unpack(f"<{len(packed) // FLOAT_BYTES}f", packed))


def packed_vector_in(body: Mapping[str, Any]) -> bytes | None:
    """The same vector as little-endian 32-bit floats; `None` if there is none, or it is not one."""
    given = _embedding_in(body)
    try:
        if isinstance(given, list):
            return struct.pack(f"<{len(given)}f", *given)
        packed = base64.b64decode(given, validate=True) if isinstance(given, str) else b""
    except (ValueError, struct.error, OverflowError):
        return None
    return packed if packed and len(packed) % FLOAT_BYTES == 0 else None


def _embedding_in(body: Mapping[str, Any]) -> object:
    return next((item.get("embedding") for item in _objects(body.get("data"))), None)


def finish_reasons(body: Mapping[str, Any]) -> tuple[object, object]:
    """Why the model stopped: of a response that is incomplete, and of a completion."""
    choice = next(iter(_objects(body.get("choices"))), {})
    return _object(body.get("incomplete_details")).get("reason"), choice.get("finish_reason")


def shortcomings(body: Mapping[str, Any]) -> Iterator[str]:
    """Why the answer is another one than was asked for, or incomplete, as far as the model says so."""
    choice = next(iter(_objects(body.get("choices"))), {})
    refusals = [_object(choice.get("message")).get("refusal"), *(part.get("refusal") for part in _parts(body))]
    yield from (f"the model refused ({whole(str(refusal))})" for refusal in refusals if refusal)
    yield from (f"the answer was cut off ({reason})" for reason in finish_reasons(body) if str(reason) in CUT_OFF)
    if error := _object(body.get("error")):
        yield f"the model failed ({whole(str(error.get('message') or error.get('code')))})"


def _of_choice(choice: Mapping[str, Any]) -> list[str]:
    return [*_plain(_object(choice.get("message")).get("content")), *_plain(choice.get("text"))]


def _plain(content: object) -> Iterator[str]:
    """The text that `content` is; or, as some servers write it, the texts of its parts."""
    if isinstance(content, str):
        yield content
    else:
        parts = (part for part in _objects(content) if part.get("type") == "text")
        yield from (part["text"] for part in parts if isinstance(part.get("text"), str))


def _unfenced(text: str) -> str:
    # No regular expression for all of it: models write runs of a hundred thousand spaces, and it would look at the rest
    # of the run from each of them.
    opening, _, rest = text.strip().partition("\n")
    if not (opening.startswith(FENCE) and LANGUAGE.fullmatch(opening, len(FENCE)) and rest.endswith(FENCE)):
        return text
    fenced = rest.removesuffix(FENCE).rstrip(" \t").removesuffix("\n")
    return text if FENCE in fenced else fenced


def _arguments(given: object) -> str:
    """Some servers write an object in place of a text that holds it."""
    return given if isinstance(given, str) else json.dumps(given)


def _parts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [part for item in _objects(body.get("output")) for part in _objects(item.get("content"))]


# A body is what JSON holds: see `mapping_in`.
def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
