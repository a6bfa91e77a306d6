"""How long to retry and to back off when OpenAI cannot be reached or refuses, and which phase to report meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from .batch_outcome import WINDOW_SECONDS, Outcome, Verdict
from .plan import QUOTA_ERRORS, seconds_to_wait

__all__ = [
    "GRACE_SECONDS",
    "Trouble",
    "backoff_seconds",
    "is_asked_to_wait",
    "is_final_refusal",
    "verdict_while_unreachable",
]

# Grace period after the completion window before an unreachable batch is declared lost. Batches have ended late.
GRACE_SECONDS = 2 * 3600.0
# How long OpenAI may answer 404 for a batch: time for a person to correct a key that was rotated wrongly.
LOST_BATCH_SECONDS = 2 * 3600.0
# How long OpenAI may answer 404 for a new input file.
LOST_FILE_SECONDS = 600.0
# How long a local run retries its first submission while OpenAI is unreachable. It is short: a person is watching.
UNREACHED_SECONDS = 60.0
# The limit on creating batches is per hour, so no Retry-After needs to be longer.
LONGEST_BACKOFF_SECONDS = 3600.0
# Keys are rotated, and a new file may not be visible yet.
TEMPORARY_REFUSALS = frozenset({401, 403, 404})


@dataclass(frozen=True)
class Trouble:
    """What keeps OpenAI from being asked about a task. Times are Unix seconds.

    Attributes:
        sentence: What happened last.
        since: When this began: after the last answer that could be used.
        unknown_since: Since when OpenAI has answered nothing but that it knows no such batch or file.
        ends_at: When the window of the task's batch closes, as far as that is known.
        submitted: Whether the task has a batch at all.
        presumed: What the task is taken to be that this process has never seen.
        unreached_since: Since when a local run that has submitted nothing has not reached OpenAI.
    """

    sentence: str
    since: float
    unknown_since: float | None = None
    ends_at: float | None = None
    submitted: bool = True
    presumed: Outcome = Outcome.RUNNING
    unreached_since: float | None = None


def is_final_refusal(status: int | None) -> bool:
    """Whether a submission that OpenAI refused with this HTTP status is never worth a retry."""
    return status not in TEMPORARY_REFUSALS


def is_asked_to_wait(status: int, code: str | None) -> bool:
    """Whether OpenAI refuses new batches for now: a rate limit, or a full queue as Azure reports it."""
    return status == 429 or code in QUOTA_ERRORS


def backoff_seconds(times: int, *, retry_after: float | None) -> float:
    """How long a submission backs off after this many refusals in a row.

    It is at least OpenAI's Retry-After, of which an hour counts at most.
    """
    asked_for = retry_after if retry_after is not None and retry_after > 0 else 0.0
    return max(seconds_to_wait(times), min(asked_for, LONGEST_BACKOFF_SECONDS))


def verdict_while_unreachable(trouble: Trouble, *, last: Verdict | None, now: float) -> Verdict:
    """The verdict on a task while OpenAI is unreachable: the last known one, until a deadline passes.

    Args:
        trouble: Why OpenAI is unreachable, and since when.
        last: The last verdict that came from an answer.
        now: Unix seconds.
    """
    unknown_for = now - trouble.unknown_since if trouble.unknown_since is not None else 0.0
    if unknown_for >= (LOST_BATCH_SECONDS if trouble.submitted else LOST_FILE_SECONDS):
        return Verdict(Outcome.FAILED, f"Gave up after {_hours(unknown_for)}. {trouble.sentence}")
    unreached_for = now - trouble.unreached_since if trouble.unreached_since is not None else 0.0
    if unreached_for >= UNREACHED_SECONDS:
        return Verdict(Outcome.FAILED, f"Gave up after {_hours(unreached_for)}. {trouble.sentence}")
    # A process that has never seen the batch assumes that it is as young as possible.
    ends_at = trouble.ends_at if trouble.ends_at is not None else trouble.since + WINDOW_SECONDS
    if now >= ends_at + GRACE_SECONDS:
        waited = f"{_hours(now - trouble.since)}, the batch's window being over"
        return Verdict(Outcome.FAILED, f"Gave up after {waited}. {trouble.sentence}")
    if not trouble.submitted:
        return Verdict(Outcome.WAITING, f"Not submitted yet; will retry. {trouble.sentence}")
    outcome = last.outcome if last is not None else trouble.presumed
    seen = f" Last seen: {last.message}." if last is not None and last.message else ""
    return Verdict(outcome, f"{trouble.sentence}{seen}")


def _hours(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} hours"
