"""The state of a batch, parsed tolerantly from the reply of OpenAI or of a compatible server."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeGuard

from flytekitplugins.openai._text import printable, shortened, whole
from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey

__all__ = ["WINDOW_SECONDS", "BatchError", "BatchSnapshot", "canonical_status"]

# The only completion window there is. https://platform.openai.com/docs/api-reference/batch/create
WINDOW_SECONDS = 24 * 3600.0


_TIMES = (
    "created_at",
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "expires_at",
)
_ENDS = ("completed_at", "failed_at", "expired_at", "cancelled_at")
# No batch is of the year 5138, which this is in seconds; in milliseconds, as some servers write, it is 1973.
MILLISECONDS_FROM = 1e11
# The end of the year 9999, and of what can be told as a date.
LATEST = 253_402_300_799
# More digits than any line number has.
LONGEST_NUMBER = 18
# Of a batch as OpenAI has it: five. Flyte takes a few dozens.
MOST_LEVELS = 20
# OpenAI's are shorter.
LONGEST_WORD, LONGEST_MESSAGE = 100, 4_000
_FILE_IDS = ("input_file_id", "output_file_id", "error_file_id")


def canonical_status(status: object) -> str:
    """A status as OpenAI spells it: Azure answers "Validating", others "COMPLETED" or "canceled"."""
    lowered = shortened(printable(str(status or "").strip().lower()), LONGEST_WORD)
    return {"canceled": "cancelled", "canceling": "cancelling"}.get(lowered, lowered)


@dataclass(frozen=True)
class BatchError:
    """One entry of a batch's `errors`; `line` counts from 1."""

    code: str | None
    message: str | None
    line: int | None = None
    param: str | None = None

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line is not None else None
        return ": ".join(part for part in (place, self.code, self.message) if part) or "no reason given"


@dataclass(frozen=True)
class BatchSnapshot:
    """A batch at one moment. Times are Unix seconds; ids that are empty or left out are `None`, counts then 0.

    Attributes:
        key: The task that it was made for, if this package made it.
        raw: The answer itself, as a dictionary.
    """

    id: str
    status: str
    key: IdempotencyKey | None = None
    endpoint: str | None = None
    model: str | None = None
    input_file_id: str | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    errors: tuple[BatchError, ...] = ()
    times: Mapping[str, float] = field(default_factory=dict)
    usage: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> BatchSnapshot:
        """Read an answer. Nothing in it can make this raise; what is not understood is left out."""
        raw = {str(name): _clean(value) for name, value in raw.items()}
        counts = _mapping(raw.get("request_counts"))
        times = {name: seconds for name in _TIMES if (seconds := _seconds(raw.get(name))) is not None}
        return cls(
            id=str(raw.get("id") or ""),
            status=canonical_status(raw.get("status")),
            key=IdempotencyKey.read(raw.get("metadata")),
            endpoint=_text(raw.get("endpoint")),
            model=_text(raw.get("model")),
            input_file_id=_text(raw.get("input_file_id")),
            output_file_id=_text(raw.get("output_file_id")),
            error_file_id=_text(raw.get("error_file_id")),
            total=_count(counts.get("total")),
            completed=_count(counts.get("completed")),
            failed=_count(counts.get("failed")),
            errors=_errors_of(raw),
            times=times,
            usage=_mapping(raw.get("usage")),
            raw=raw,
        )

    @property
    def done(self) -> int:
        """Requests that ran, well or not."""
        return self.completed + self.failed

    @property
    def ended_at(self) -> float | None:
        """When it came to its end; `None` before that, and when the server does not tell."""
        return max((self.times[name] for name in _ENDS if name in self.times), default=None)

    @property
    def window_ends_at(self) -> float | None:
        """When its completion window ends; `None` when the server tells no times."""
        created_at = self.times.get("created_at")
        return self.times.get("expires_at") or (created_at and created_at + WINDOW_SECONDS)

    @property
    def result(self) -> dict[str, Any]:
        """The batch as a task's output: the answer itself, in which every file id is present, if only as `None`."""
        return {**self.raw, **{name: getattr(self, name) for name in _FILE_IDS}}

    def summary(self) -> dict[str, Any]:
        """What is worth keeping beside the phase: ids, counts, usage and times, without what is not known."""
        known = {
            "batch_id": self.id,
            "status": self.status,
            "endpoint": self.endpoint,
            "model": self.model,
            **{name: getattr(self, name) for name in _FILE_IDS},
            "request_counts": {"total": self.total, "completed": self.completed, "failed": self.failed},
            "usage": dict(self.usage) or None,
            **{name: int(seconds) for name, seconds in self.times.items()},
        }
        return {name: value for name, value in known.items() if value is not None}


def _clean(value: Any, levels: int = MOST_LEVELS) -> Any:
    """`value` as protobuf can hold it.

    Half a character, which JSON may have, is replaced, and a huge integer becomes a float. Left out are numbers that
    are not finite, and what is nested more deeply than in any answer.
    """
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {_clean(str(name)): _clean(item, levels - 1) for name, item in value.items()} if levels else None
    if isinstance(value, list):
        return [_clean(item, levels - 1) for item in value] if levels else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and abs(value) > sys.maxsize:
        return float(value) if abs(value) <= sys.float_info.max else None
    return value


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int:
    return int(value) if _is_finite(value) else 0


def _is_finite(value: object) -> TypeGuard[float]:
    # Python's JSON reader lets NaN and Infinity through.
    return isinstance(value, (int, float)) and abs(value) <= sys.float_info.max


def _seconds(value: object) -> float | None:
    """Unix seconds, from a number or from an ISO 8601 text as some compatible servers send it."""
    if _is_finite(value):
        seconds = value / 1_000 if value > MILLISECONDS_FROM else float(value)
        # Some write zero for none.
        return seconds if 0 < seconds <= LATEST else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()


def _said(value: object, longest: int) -> str | None:
    """A text as a part of a message."""
    text = _text(value)
    return shortened(printable(text), longest) if text else None


def _errors_of(batch: Mapping[str, Any]) -> tuple[BatchError, ...]:
    """The errors of a batch, given as OpenAI's list object, a bare list, one error, a text, or not at all."""
    value = batch.get("errors")
    if isinstance(value, Mapping):
        value = value.get("data", value)
    if isinstance(value, Mapping):
        value = [value] if value else []
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return ()
    return tuple(_error(entry) for entry in value if entry)


def _error(entry: object) -> BatchError:
    if not isinstance(entry, Mapping):
        return BatchError(code=None, message=_said(str(entry), LONGEST_MESSAGE))
    line = entry.get("line")
    if isinstance(line, str) and line.isdecimal() and len(line) < LONGEST_NUMBER:
        line = int(line)
    code = entry.get("code")
    return BatchError(
        code=str(code) if isinstance(code, int) else _said(code, LONGEST_WORD),
        message=_said(entry.get("message"), LONGEST_MESSAGE),
        line=int(line) if _is_finite(line) else None,
        param=_text(entry.get("param")),
    )
