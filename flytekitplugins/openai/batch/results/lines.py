"""Parses one result line: which request it belongs to, whether it succeeded, and the error if it did not."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from flytekitplugins.openai._text import shortened, whole

from .usage import Consumption, Usage

__all__ = [
    "CUT_OFF",
    "UNREADABLE",
    "Failure",
    "ResultLine",
    "body_of",
    "failure_in",
    "failure_of",
    "is_worth_running_again",
    "missing_line",
    "object_in",
    "read_line",
    "read_object",
    "salvaged",
]

# Codes of requests that never got an HTTP answer, and statuses, of what may go well the next time.
# https://platform.openai.com/docs/guides/batch#batch-expiration, https://platform.openai.com/docs/guides/error-codes
MISSING = "missing"
INTERNAL = "internal_error"
# Codes of our own, for lines that have no answer in them, whatever their status says.
NO_ANSWER, EMPTY_ANSWER, UNREADABLE = "no_answer", "empty_answer", "unreadable_line"
CODES_WORTH_IT = frozenset(
    {
        *("batch_expired", "batch_cancelled", "request_timeout", "rate_limit_exceeded", "server_error"),
        *(MISSING, INTERNAL, NO_ANSWER, EMPTY_ANSWER, UNREADABLE),
    }
)
STATUSES_WORTH_IT = frozenset({408, 409, 429})
NO_CODE = "unknown"
# As the SDK words its errors, which some servers write in place of a status.
STATUS_IN_WORDS = re.compile(r"Error code: ([45]\d\d)\b")
CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*("(?:[^"\\]|\\.)*")')
LONGEST_TEXT = 1_000
# What a request has, and what an answer of one of the endpoints has.
ASKED = ("messages", "input", "prompt")
ANSWERED = ("choices", "output", "data", "results", "object", "id")
# Reasons to have ended with which an answer is not the whole one.
# https://platform.openai.com/docs/api-reference/chat/object#chat/object-choices-finish_reason
# https://platform.openai.com/docs/api-reference/responses/object#responses/object-incomplete_details
CUT_OFF = frozenset({"length", "content_filter", "max_output_tokens"})


@dataclass(frozen=True)
class Failure:
    """What a line says that did not succeed; `status` is the HTTP status, where there was an answer."""

    code: str
    message: str
    status: int | None = None


# What is looked at of a line; the rest is passed over without being built. Chat completions count a prompt and a
# completion, responses an input and an output. Lines of other shapes are read by `read_object`.
# No answer has more tokens; and the sum of all of them must go into 64 bits.
MOST_TOKENS = 1_000_000_000
_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count = 0


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count = 0


class _Usage(msgspec.Struct, gc=False):
    input_tokens: _Count = 0
    output_tokens: _Count = 0
    prompt_tokens: _Count = 0
    completion_tokens: _Count = 0
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


_DETAILS = frozenset(name for name in _Usage.__struct_fields__ if name.endswith("_details"))


class _Choice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _IncompleteDetails(msgspec.Struct, gc=False):
    reason: str | None = None


class _Body(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    usage: _Usage | None = None
    choices: list[_Choice] | None = None
    incomplete_details: _IncompleteDetails | None = None


class _Response(msgspec.Struct, gc=False):
    status_code: int
    body: _Body | None = None


class ResultLine(msgspec.Struct, gc=False):
    """As much of a line as all of them have."""

    custom_id: str
    response: _Response | None = None
    error: dict[str, Any] | None = None

    @property
    def succeeded(self) -> bool:
        """Whether there is an answer. The error of a request that was refused is null: its status tells."""
        response = self.response
        return response is not None and 200 <= response.status_code < 300 and not self.error

    @property
    def usage(self) -> Usage | None:
        """What the answer took; `None` where the server does not tell."""
        alone = Consumption()
        self.count_in(alone)
        return alone.usage if alone.by_model else None

    def count_in(self, consumption: Consumption) -> None:
        """Count whether the answer was cut off, and what it took, if the server tells."""
        response = self.response
        body = response.body if response is not None else None
        if body is None or self.error:
            return
        # An object, or only a call, for each line of a million would take longer than reading it.
        choices, details, found = body.choices, body.incomplete_details, body.usage
        if (choices[0].finish_reason if choices else details and details.reason) in CUT_OFF:
            consumption.cut_off += 1
        if found is None:
            return
        read, written = found.input_tokens or found.prompt_tokens, found.output_tokens or found.completion_tokens
        if not read and not written:
            # Every answer takes some: it has other names for them, or none.
            return
        usage = consumption.by_model.get(body.model) or consumption.of(body.model)
        usage.input_tokens += read
        usage.output_tokens += written
        consumption.spread.add(written)
        if input_details := found.input_tokens_details or found.prompt_tokens_details:
            usage.cached_tokens += input_details.cached_tokens
        if output_details := found.output_tokens_details or found.completion_tokens_details:
            usage.reasoning_tokens += output_details.reasoning_tokens


_decode = msgspec.json.Decoder(ResultLine).decode


def read_line(line: bytes) -> ResultLine | None:
    """What a line of an output or error file says; `None` when it is no such line."""
    try:
        found = _decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return read_object(object_in(line))
    response = found.response
    if response is None or ((body := response.body) is not None and (body.id or body.usage)):
        return found
    # There may be no answer in it. A byte that is no UTF-8, in a text that nobody reads here, is no reason to lose it.
    return read_object({**object_in(line, errors="replace"), "custom_id": found.custom_id})


def failure_in(line: bytes) -> Failure:
    """What went wrong, by a line that did not succeed: OpenAI's word for it, or the model endpoint's."""
    return failure_of(object_in(line))


def failure_of(found: Mapping[str, Any]) -> Failure:
    """The same, by the object that the line holds."""
    response = _mapping(found.get("response"))
    body = body_of(found)
    status = _whole_number(response.get("status_code"))
    if lack := _lack_of_answer(found):
        return Failure(*lack)
    # OpenAI has an object; others a text, or what would be in the object beside it.
    errors = [error for error in (found.get("error"), body.get("error"), body or response.get("body")) if error]
    said = next((error for error in errors if isinstance(error, Mapping)), {})
    text = next((error for error in errors if isinstance(error, str)), "")
    message = whole(str(said.get("message") or text or "no reason given"))
    if status is None and (told := STATUS_IN_WORDS.match(message)):
        status = int(told[1])
    code = said.get("code") or said.get("type") or status or NO_CODE
    return Failure(whole(str(code)), message, status)


def _lack_of_answer(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Code and message for a line without an error that has no answer either; `None` for any other.

    Half of a batch has been seen to have status 0 and no body, and gateways answer 200 with an empty body, or with the
    request itself. https://github.com/tidyverse/ellmer/issues/830, https://github.com/BerriAI/litellm/pull/37457
    """
    response = found.get("response")
    if found.get("error") or not isinstance(response, Mapping):
        return None
    status, body = _whole_number(response.get("status_code")), body_of(found)
    if status == 0 and not body.get("error"):
        return NO_ANSWER, "OpenAI wrote no answer of the model's: the HTTP status is 0"
    if status is None or not 200 <= status < 300:
        return None
    if not body and not response.get("body"):
        return EMPTY_ANSWER, f"the answer with the HTTP status {status} is empty"
    if any(name in body for name in ASKED) and not any(name in body for name in ANSWERED):
        return EMPTY_ANSWER, f"the answer with the HTTP status {status} is the request itself"
    return None


def is_worth_running_again(failure: Failure) -> bool:
    """Whether a request may well succeed the next time, for all that is known."""
    if failure.status is None:
        return failure.code in CODES_WORTH_IT
    return failure.status in STATUSES_WORTH_IT or failure.status >= 500


def missing_line(custom_id: str, code: str, message: str) -> bytes:
    """A line for a request of which nothing came back, in the form of OpenAI's error lines."""
    error = {"code": code, "message": message}
    line = {"id": None, "custom_id": custom_id, "response": None, "error": error}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def salvaged(line: bytes) -> tuple[str, bytes] | None:
    """Of a line that nobody can read: whose it is, and a line in its place that holds its text; `None` if nobody's."""
    named = CUSTOM_ID.search(line)
    if named is None:
        return None
    try:
        custom_id = json.loads(named[1])
    except ValueError:
        return None
    text = shortened(line.decode(errors="replace").strip(), LONGEST_TEXT)
    return custom_id, missing_line(custom_id, UNREADABLE, f"this is no line of results: {text}")


def read_object(found: Mapping[str, Any]) -> ResultLine | None:
    """What a line says, by the object that it holds, also as compatible servers write it.

    These have a body as a text within the JSON, numbers as text, or other kinds of usage.
    """
    custom_id = found.get("custom_id")
    if not isinstance(custom_id, str):
        return None
    status = _whole_number(_mapping(found.get("response")).get("status_code"))
    body = body_of(found)
    model, usage = body.get("model"), _mapping(body.get("usage"))
    read = _Body(
        "",
        model if isinstance(model, str) else "",
        _usage(usage) if usage else None,
        [_Choice(str(choice.get("finish_reason"))) for choice in _mappings(body.get("choices"))],
        _IncompleteDetails(str(_mapping(body.get("incomplete_details")).get("reason"))),
    )
    error = dict(_mapping(found.get("error"))) or ({"message": str(found["error"])} if found.get("error") else None)
    if lack := _lack_of_answer(found):
        error = {"code": lack[0], "message": lack[1]}
    return ResultLine(custom_id, _Response(status, read) if status is not None else None, error)


def object_in(line: bytes, *, errors: str = "strict") -> Mapping[str, Any]:
    """The object that a line holds; an empty one if it holds none.

    Args:
        line: The line, perhaps with the mark with which some programs begin a file.
        errors: What becomes of bytes that are no UTF-8, as for `bytes.decode`.
    """
    try:
        return _mapping(json.loads(line.decode("utf-8-sig", errors)))
    except (ValueError, RecursionError):
        return {}


def body_of(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body of the answer in a line's object; an empty one if there was no answer."""
    body = _mapping(found.get("response")).get("body")
    # Some servers write the body as a text that holds JSON.
    return object_in(body.encode(errors="replace")) if isinstance(body, str) else _mapping(body)


def _usage(usage: Mapping[str, Any]) -> _Usage:
    details = {name: _counts(value) for name, value in usage.items() if name in _DETAILS and isinstance(value, Mapping)}
    return msgspec.convert({**_counts(usage), **details}, _Usage)


def _counts(values: Mapping[str, Any]) -> dict[str, int]:
    counts = {name: _whole_number(value) for name, value in values.items() if name not in _DETAILS}
    return {name: count for name, count in counts.items() if count is not None and 0 <= count <= MOST_TOKENS}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _whole_number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) <= sys.maxsize else None
