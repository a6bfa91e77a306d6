"""Decides what the state of one batch means, and words it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from flytekitplugins.openai._text import plural

from .snapshot import BatchError, BatchSnapshot

__all__ = [
    "FAILED",
    "RUNNING",
    "SUCCEEDED",
    "WINDOW_SECONDS",
    "Outcome",
    "Verdict",
    "has_passed_validation",
    "input_file_is_invisible",
    "is_internal_failure",
    "is_live",
    "is_over",
    "judge",
    "stands",
]

# https://platform.openai.com/docs/guides/batch#4-check-the-status-of-a-batch
RUNNING = ("validating", "in_progress", "finalizing", "cancelling")
SUCCEEDED = ("completed",)
FAILED = ("failed", "expired", "cancelled")

# With these codes, or none, OpenAI reports trouble of its own: the same file may pass the next time.
INTERNAL_ERRORS = frozenset({None, "unknown", "unknown_error", "internal", "internal_error", "server_error"})
# The ids of the result files have been seen to come a moment after `completed`.
LATE_FILES_SECONDS = 120.0
# The only completion window there is. https://platform.openai.com/docs/api-reference/batch/create
WINDOW_SECONDS = 24 * 3600.0


class Outcome(Enum):
    """What Flyte is to be told."""

    WAITING = "waiting"
    INITIALIZING = "initializing"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    WORTH_RETRYING = "worth retrying"


@dataclass(frozen=True)
class Verdict:
    """An outcome, and the sentence a person reads beside it."""

    outcome: Outcome
    message: str


def is_live(batch: BatchSnapshot) -> bool:
    """Whether a batch may still complete, and nobody has asked it to stop."""
    return batch.status not in (*SUCCEEDED, *FAILED, "cancelling")


def is_over(batch: BatchSnapshot, *, now: float) -> bool:
    """Whether nothing about a batch will change any more."""
    return batch.status in (*SUCCEEDED, *FAILED) and not _files_are_late(batch, now)


def stands(batch: BatchSnapshot) -> bool:
    """Whether a batch is the answer by itself, whatever others there are."""
    return is_live(batch) or batch.status in SUCCEEDED


def has_passed_validation(batch: BatchSnapshot) -> bool:
    """Whether OpenAI has begun to run a batch, or has run it."""
    return "in_progress_at" in batch.times or batch.status not in ("validating", "failed", "cancelling", "cancelled")


def judge(batch: BatchSnapshot, *, now: float, partial_results: bool = False) -> Verdict:
    """What a batch has come to.

    Args:
        batch: Its latest state. A status that is not known counts as running: servers have statuses of their own, and
            waiting is the mistake that costs nothing.
        now: Unix seconds.
        partial_results: Whether the results of a batch that expired or was cancelled are good enough.
    """
    if batch.status in SUCCEEDED:
        if not is_over(batch, now=now):
            return Verdict(Outcome.RUNNING, f"completed: {_counts(batch)}; its result files are not there yet")
        return Verdict(Outcome.SUCCEEDED, f"completed: {_counts(batch)}")
    if batch.status == "failed":
        return _failed(batch)
    if batch.status in FAILED:
        outcome = Outcome.SUCCEEDED if partial_results and batch.output_file_id else Outcome.FAILED
        return Verdict(outcome, f"batch {batch.id!r} {_was(batch.status)}: {_counts(batch)}{_whereabouts(batch)}")
    status = batch.status.replace("_", " ") or "status not known"
    return Verdict(Outcome.RUNNING, f"{status}: {_counts(batch)}" if batch.total else status)


def is_internal_failure(batch: BatchSnapshot) -> bool:
    """Whether a batch failed because of trouble that OpenAI has with itself."""
    return batch.status == "failed" and all(
        error.code in INTERNAL_ERRORS and error.line is None for error in batch.errors
    )


def input_file_is_invisible(batch: BatchSnapshot) -> bool:
    """Whether the batch failed because its key cannot see the input file: often the key of another project."""
    return any(
        error.code == "invalid_request" and (error.param == "file_id" or "Cannot find file" in (error.message or ""))
        for error in batch.errors
    )


def _failed(batch: BatchSnapshot) -> Verdict:
    if is_internal_failure(batch):
        reason = f": {_list(batch.errors)}" if batch.errors else ", without giving a reason"
        return Verdict(Outcome.WORTH_RETRYING, f"OpenAI failed batch {batch.id!r}{reason}")
    return Verdict(Outcome.FAILED, _list(batch.errors))


def _files_are_late(batch: BatchSnapshot, now: float) -> bool:
    if batch.status not in SUCCEEDED:
        return False
    missing = (batch.completed and not batch.output_file_id) or (batch.failed and not batch.error_file_id)
    ended = batch.times.get("completed_at")
    return bool(missing) and ended is not None and abs(now - ended) < LATE_FILES_SECONDS


def _counts(batch: BatchSnapshot) -> str:
    if not batch.total:
        return "requests not counted"
    failed = f", {batch.failed:,} failed" if batch.failed else ""
    return f"{batch.done:,} of {plural(batch.total, 'request')} done{failed}"


def _list(errors: Sequence[BatchError]) -> str:
    """`3 errors: line 7: duplicate_custom_id: ... (and 2 more)`."""
    if len(errors) == 1:
        return f"1 error: {errors[0]}"
    return f"{len(errors):,} errors: {errors[0]} (and {len(errors) - 1:,} more)"


def _was(status: str) -> str:
    return "was cancelled" if status == "cancelled" else status


def _whereabouts(batch: BatchSnapshot) -> str:
    return f"; what was finished is in file {batch.output_file_id!r}" if batch.output_file_id else ""
