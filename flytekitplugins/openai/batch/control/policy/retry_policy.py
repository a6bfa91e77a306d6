"""Which failures are worth a retry, how often, and after how long."""

from __future__ import annotations

from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot

__all__ = [
    "INTERNAL_FAILURE_ATTEMPTS",
    "INVISIBLE_FILE_ATTEMPTS",
    "backoff_seconds",
    "input_file_is_invisible",
    "is_final_refusal",
    "is_internal_failure",
    "is_over_quota",
    "is_rate_limited",
    "is_refused_for_now",
]

# A failed batch with one of these codes is resubmitted once OpenAI's queue has room.
# https://platform.openai.com/docs/guides/rate-limits
QUOTA_CODES = frozenset({"token_limit_exceeded"})
# With these codes, or without one, OpenAI reports an internal error. The same file may pass the next time.
INTERNAL_CODES = frozenset({None, "unknown", "unknown_error", "internal", "internal_error", "server_error"})
# HTTP statuses of a refused submission that pass: keys are rotated, and a new file may not be visible yet.
TEMPORARY_REFUSALS = frozenset({401, 403, 404})
# Resubmissions of a file that OpenAI's Files API knows, and its Batch API does not find.
INVISIBLE_FILE_ATTEMPTS = 3
# Resubmissions of a file after internal errors, if the task has other files.
INTERNAL_FAILURE_ATTEMPTS = 3
# The backoff doubles from the first to the longest.
FIRST_BACKOFF_SECONDS = 60.0
LONGEST_BACKOFF_SECONDS = 1800.0
# The limit on creating batches is per hour, so a longer Retry-After is not needed.
LONGEST_RETRY_AFTER_SECONDS = 3600.0


def backoff_seconds(refusals: int, *, retry_after: float | None = None) -> float:
    """How long a submission backs off after this many refusals in a row: 1, 2, 4, ... minutes, at most 30.

    Args:
        refusals: How many there were, from 1.
        retry_after: OpenAI's Retry-After in seconds. The backoff is at least as long, up to an hour.
    """
    backoff = min(FIRST_BACKOFF_SECONDS * 2.0 ** min(refusals - 1, 10), LONGEST_BACKOFF_SECONDS)
    asked_for = retry_after if retry_after is not None and retry_after > 0 else 0.0
    return max(backoff, min(asked_for, LONGEST_RETRY_AFTER_SECONDS))


def is_final_refusal(status: int | None) -> bool:
    """Whether a submission that OpenAI refused with this HTTP status is never worth a retry."""
    return status not in TEMPORARY_REFUSALS


def is_rate_limited(status: int, code: str | None) -> bool:
    """Whether OpenAI refuses every new batch for now: a rate limit, or a full queue as Azure reports it."""
    return status == 429 or code in QUOTA_CODES


def is_over_quota(batch: BatchSnapshot) -> bool:
    """Whether a batch failed because OpenAI's queue was full."""
    return any(error.code in QUOTA_CODES for error in batch.errors)


def is_internal_failure(batch: BatchSnapshot) -> bool:
    """Whether a batch failed because of an internal error at OpenAI."""
    return batch.status == "failed" and all(
        error.code in INTERNAL_CODES and error.line is None for error in batch.errors
    )


def input_file_is_invisible(batch: BatchSnapshot) -> bool:
    """Whether a batch failed because its key cannot see the input file: often the key of another project."""
    return any(
        error.code == "invalid_request" and (error.param == "file_id" or "Cannot find file" in (error.message or ""))
        for error in batch.errors
    )


def is_refused_for_now(batch: BatchSnapshot, *, file_is_visible: bool) -> bool:
    """Whether a batch failed for a reason that passes: a full queue, or a file that was not visible yet."""
    if batch.status != "failed":
        return False
    return is_over_quota(batch) or (file_is_visible and input_file_is_invisible(batch))
