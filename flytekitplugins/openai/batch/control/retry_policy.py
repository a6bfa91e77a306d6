"""How long OpenAI's trouble is put up with, and what a task is taken for meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

from .batch_outcome import WINDOW_SECONDS, Outcome, Verdict
from .plan import QUOTA_ERRORS, seconds_to_wait

__all__ = ["GRACE_SECONDS", "Trouble", "endure", "is_asked_to_wait", "is_final_refusal", "seconds_to_put_off"]

# How much longer than its window a batch is believed in that cannot be asked about. They have been seen to end late.
GRACE_SECONDS = 2 * 3600.0
# How long a batch may be unknown to OpenAI: as long as it takes a person to put right a key that was rotated wrongly.
LOST_BATCH_SECONDS = 2 * 3600.0
# How long a new file may be unknown.
LOST_FILE_SECONDS = 600.0
# How long a local run waits that has submitted nothing and does not reach OpenAI: a person watches it.
UNREACHED_SECONDS = 60.0
# Creations are counted by the hour.
LONGEST_PUT_OFF_SECONDS = 3600.0
# Keys are rotated, and a new file may not be visible yet.
REFUSALS_THAT_PASS = frozenset({401, 403, 404})


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
    """Whether a batch that OpenAI refused to make with this HTTP status will not be made later either."""
    return status not in REFUSALS_THAT_PASS


def is_asked_to_wait(status: int, code: str | None) -> bool:
    """Whether OpenAI takes no more batches for the moment: of anybody's, or, as Azure says it, of this size."""
    return status == 429 or code in QUOTA_ERRORS


def seconds_to_put_off(times: int, *, retry_after: float | None) -> float:
    """How long to put off what has been put off so many times in a row: as long as OpenAI says, up to an hour."""
    asked_for = retry_after if retry_after is not None and retry_after > 0 else 0.0
    return max(seconds_to_wait(times), min(asked_for, LONGEST_PUT_OFF_SECONDS))


def endure(trouble: Trouble, *, last: Verdict | None, now: float) -> Verdict:
    """What a task is taken for whose batch cannot be asked about: what it was, until there is no hope left.

    Args:
        trouble: Why it cannot.
        last: The last verdict that came from an answer.
        now: Unix seconds.
    """
    unknown_for = now - trouble.unknown_since if trouble.unknown_since is not None else 0.0
    if unknown_for >= (LOST_BATCH_SECONDS if trouble.submitted else LOST_FILE_SECONDS):
        return Verdict(Outcome.FAILED, f"Gave up after {_hours(unknown_for)}. {trouble.sentence}")
    unreached_for = now - trouble.unreached_since if trouble.unreached_since is not None else 0.0
    if unreached_for >= UNREACHED_SECONDS:
        return Verdict(Outcome.FAILED, f"Gave up after {_hours(unreached_for)}. {trouble.sentence}")
    # Who has never seen the batch takes it for as young as it can be.
    ends_at = trouble.ends_at if trouble.ends_at is not None else trouble.since + WINDOW_SECONDS
    if now >= ends_at + GRACE_SECONDS:
        waited = f"{_hours(now - trouble.since)}, the batch's window being over"
        return Verdict(Outcome.FAILED, f"Gave up after {waited}. {trouble.sentence}")
    if not trouble.submitted:
        return Verdict(Outcome.WAITING, f"Not submitted yet, and tried again. {trouble.sentence}")
    outcome = last.outcome if last is not None else trouble.presumed
    seen = f" Last seen: {last.message}." if last is not None and last.message else ""
    return Verdict(outcome, f"{trouble.sentence}{seen}")


def _hours(seconds: float) -> str:
    if seconds < 90:
        return "a minute"
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} hours"
