"""Maps the state of one batch to a phase, with its message."""

from __future__ import annotations

from collections.abc import Sequence

from flytekitplugins.openai._text import plural
from flytekitplugins.openai.batch.control.state.phase import Phase, PhaseInfo
from flytekitplugins.openai.batch.control.state.snapshot import BatchError, BatchSnapshot

from .retry_policy import is_internal_failure

__all__ = [
    "FAILED",
    "RUNNING",
    "SUCCEEDED",
    "batch_phase",
    "has_passed_validation",
    "is_final",
    "is_live",
    "is_live_or_completed",
]

# https://platform.openai.com/docs/guides/batch#4-check-the-status-of-a-batch
RUNNING = ("validating", "in_progress", "finalizing", "cancelling")
SUCCEEDED = ("completed",)
FAILED = ("failed", "expired", "cancelled")

# The ids of the result files have been seen to come a moment after `completed`.
LATE_FILES_SECONDS = 120.0


def is_live(batch: BatchSnapshot) -> bool:
    """Whether a batch may still complete, and was not asked to stop."""
    return batch.status not in (*SUCCEEDED, *FAILED, "cancelling")


def is_live_or_completed(batch: BatchSnapshot) -> bool:
    """Whether a batch decides its file's phase by itself, whatever other batches there are."""
    return is_live(batch) or batch.status in SUCCEEDED


def is_final(batch: BatchSnapshot, *, now: float) -> bool:
    """Whether nothing about a batch will change any more."""
    return batch.status in (*SUCCEEDED, *FAILED) and not _files_are_late(batch, now)


def has_passed_validation(batch: BatchSnapshot) -> bool:
    """Whether OpenAI has started to run a batch, or has run it."""
    return "in_progress_at" in batch.times or batch.status not in ("validating", "failed", "cancelling", "cancelled")


def batch_phase(batch: BatchSnapshot, *, now: float, partial_results: bool = False) -> PhaseInfo:
    """The phase of one batch.

    Args:
        batch: Its latest state. An unknown status counts as running: compatible servers have statuses of their own, and
            to wait is the mistake that costs nothing.
        now: Unix seconds.
        partial_results: Whether the results of an expired or cancelled batch are accepted.
    """
    if batch.status in SUCCEEDED:
        if not is_final(batch, now=now):
            return PhaseInfo(Phase.RUNNING, f"completed: {_counts(batch)}; its result files are not available yet")
        return PhaseInfo(Phase.SUCCEEDED, f"completed: {_counts(batch)}")
    if batch.status == "failed":
        return _failed(batch)
    if batch.status in FAILED:
        phase = Phase.SUCCEEDED if partial_results and batch.output_file_id else Phase.FAILED
        return PhaseInfo(phase, f"batch {batch.id!r} {_was(batch.status)}: {_counts(batch)}{_partial_results(batch)}")
    status = batch.status.replace("_", " ") or "status not known"
    return PhaseInfo(Phase.RUNNING, f"{status}: {_counts(batch)}" if batch.total else status)


def _failed(batch: BatchSnapshot) -> PhaseInfo:
    if is_internal_failure(batch):
        reason = f": {_errors(batch.errors)}" if batch.errors else ", without giving a reason"
        return PhaseInfo(Phase.RETRYABLE_FAILED, f"OpenAI failed batch {batch.id!r}{reason}")
    return PhaseInfo(Phase.FAILED, _errors(batch.errors))


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


def _errors(errors: Sequence[BatchError]) -> str:
    """`3 errors: line 7: duplicate_custom_id: ... (and 2 more)`."""
    if len(errors) == 1:
        return f"1 error: {errors[0]}"
    return f"{len(errors):,} errors: {errors[0]} (and {len(errors) - 1:,} more)"


def _was(status: str) -> str:
    return "was cancelled" if status == "cancelled" else status


def _partial_results(batch: BatchSnapshot) -> str:
    return f"; what it finished is in file {batch.output_file_id!r}" if batch.output_file_id else ""
