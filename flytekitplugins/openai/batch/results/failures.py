"""Why a request failed, by its result line, and whether it is worth running again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flytekitplugins.openai._text import shortened, whole

from .json_objects import body_of, mapping_in, object_in, whole_number

__all__ = [
    "INTERNAL",
    "MISSING",
    "UNREADABLE",
    "Failure",
    "failure_in",
    "failure_of",
    "is_worth_running_again",
    "lack_of_answer",
    "line_in_place_of",
    "missing_line",
]

# Codes of requests that never got an HTTP answer, and HTTP statuses, that are worth running again.
# https://platform.openai.com/docs/guides/batch#batch-expiration, https://platform.openai.com/docs/guides/error-codes
MISSING = "missing"
INTERNAL = "internal_error"
# Codes of our own, for lines that have no answer in them, whatever their status says.
NO_ANSWER, EMPTY_ANSWER, UNREADABLE = "no_answer", "empty_answer", "unreadable_line"
CODES_WORTH_IT = frozenset(
    {
        *("batch_expired", "batch_cancelled", "request_timeout", "rate_limit_exceeded", "server_error"),
        # Of a file that was too large for OpenAI's queue: the next one is smaller.
        "token_limit_exceeded",
        *(MISSING, INTERNAL, NO_ANSWER, EMPTY_ANSWER, UNREADABLE),
    }
)
# Without credit another run fails as well, though OpenAI answers 429, as it does for a rate limit.
CODES_NOT_WORTH_IT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
STATUSES_WORTH_IT = frozenset({408, 409, 429})
NO_CODE = "unknown"
# As the SDK words its errors, which some servers write in place of a status.
STATUS_IN_WORDS = re.compile(r"Error code: ([45]\d\d)\b")
CUSTOM_ID = re.compile(rb'"custom_id"\s*:\s*("(?:[^"\\]|\\.)*")')
LONGEST_TEXT = 1_000
# What a request has, and what an answer of one of the endpoints has.
ASKED = ("messages", "input", "prompt")
ANSWERED = ("choices", "output", "data", "results", "object", "id")


@dataclass(frozen=True)
class Failure:
    """Why a request failed; `status` is the HTTP status, if there was an answer."""

    code: str
    message: str
    status: int | None = None


def failure_in(line: bytes) -> Failure:
    """The failure in a result line that did not succeed."""
    return failure_of(object_in(line))


def failure_of(found: Mapping[str, Any]) -> Failure:
    """The failure in the object of a result line that did not succeed."""
    response = mapping_in(found.get("response"))
    body = body_of(found)
    status = whole_number(response.get("status_code"))
    if lack := lack_of_answer(found):
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


def lack_of_answer(found: Mapping[str, Any]) -> tuple[str, str] | None:
    """Code and message for a line that has neither an error nor an answer; `None` for any other.

    Half of a batch has been seen to have status 0 and no body, and gateways answer 200 with an empty body, or with the
    request itself. https://github.com/tidyverse/ellmer/issues/830, https://github.com/BerriAI/litellm/pull/37457
    """
    response = found.get("response")
    if found.get("error") or not isinstance(response, Mapping):
        return None
    status, body = whole_number(response.get("status_code")), body_of(found)
    if status == 0 and not body.get("error"):
        return NO_ANSWER, "OpenAI returned no answer from the model: the HTTP status is 0"
    if status is None or not 200 <= status < 300:
        return None
    if not body and not response.get("body"):
        return EMPTY_ANSWER, f"the answer with the HTTP status {status} is empty"
    if any(name in body for name in ASKED) and not any(name in body for name in ANSWERED):
        return EMPTY_ANSWER, f"the answer with the HTTP status {status} is the request itself"
    return None


def is_worth_running_again(failure: Failure) -> bool:
    """Whether a failed request is worth running again: by its code if that says so, and else by its HTTP status."""
    if failure.code in CODES_WORTH_IT or failure.code in CODES_NOT_WORTH_IT:
        return failure.code in CODES_WORTH_IT
    return failure.status is not None and (failure.status in STATUSES_WORTH_IT or failure.status >= 500)


def missing_line(custom_id: str, code: str, message: str) -> bytes:
    """A line for a request without a result, in the form of OpenAI's error lines."""
    error = {"code": code, "message": message}
    line = {"id": None, "custom_id": custom_id, "response": None, "error": error}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def line_in_place_of(line: bytes) -> tuple[str, bytes] | None:
    """The `custom_id` in an unreadable line, and a readable line in its place with its text; `None` without an id."""
    named = CUSTOM_ID.search(line)
    if named is None:
        return None
    try:
        custom_id = json.loads(named[1])
    except ValueError:
        return None
    text = shortened(line.decode(errors="replace").strip(), LONGEST_TEXT)
    return custom_id, missing_line(custom_id, UNREADABLE, f"this is not a line of results: {text}")
