"""What the state of a task's batches means: what to do next, what came of them, and how to say so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from .snapshot import BatchError, BatchSnapshot

__all__ = [
    "FAILED",
    "QUOTA_ERRORS",
    "RUNNING",
    "SUCCEEDED",
    "WINDOW_SECONDS",
    "Outcome",
    "Plan",
    "Verdict",
    "input_file_is_invisible",
    "is_due_for_a_look",
    "is_live",
    "judge",
    "make_plan",
    "seconds_to_wait",
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
# A batch may come into being long after its maker gave up waiting for the answer. So long after a batch's start, and so
# often, it is made sure that it is the only one.
RACE_SECONDS = 600.0
LOOK_SECONDS = 120.0
# A full queue empties as batches end. https://platform.openai.com/docs/guides/rate-limits
QUOTA_ERRORS = frozenset({"token_limit_exceeded"})
FIRST_WAIT_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 1800.0
# How often a file is submitted again that OpenAI says to know, and yet could not find.
INVISIBLE_FILE_ATTEMPTS = 3


class Outcome(Enum):
    """What Flyte is to be told."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    WORTH_RETRYING = "worth retrying"


@dataclass(frozen=True)
class Verdict:
    """An outcome, and the sentence a person reads beside it."""

    outcome: Outcome
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do about the batches of a task.

    Attributes:
        batch: The one whose state is the task's; `None` while there is none.
        surplus: Others that run the same requests, and must be cancelled, or they are bought twice.
        submit: Whether a batch is to be made now.
        waiting: Why the file waits to be submitted again, in words; "" when it does not.
    """

    batch: BatchSnapshot | None = None
    surplus: tuple[BatchSnapshot, ...] = ()
    submit: bool = False
    waiting: str = ""


def make_plan(
    batches: Sequence[BatchSnapshot],
    *,
    input_file_id: str,
    attempt: str,
    adopted: str = "",
    file_is_visible: bool = True,
    now: float,
) -> Plan:
    """What to do, given all the batches of a node.

    A batch of the same file that runs or completed is taken, whichever attempt made it. What ended otherwise counts
    for the attempt that made it alone: the next attempt is there to try again.

    Args:
        batches: Of the node: of all its attempts, in any order.
        input_file_id: The file to run.
        attempt: The one that asks.
        adopted: The id of a batch that this attempt has taken for its own before, if there is one.
        file_is_visible: Whether OpenAI says to know the file.
        now: Unix seconds.
    """
    of_file = sorted((batch for batch in batches if batch.input_file_id == input_file_id), key=_age)
    live = [batch for batch in of_file if is_live(batch)]
    good = [batch for batch in of_file if batch.status in SUCCEEDED] + live
    if good:
        return Plan(good[0], surplus=tuple(batch for batch in live if batch is not good[0]))
    own = [batch for batch in of_file if _belongs_to(attempt, batch, adopted) and not _was_surplus(batch, of_file)]
    if not own:
        return Plan(submit=True)
    last = own[-1]
    refusals = [batch for batch in own if _is_refused_for_now(batch, file_is_visible)]
    invisible = [batch for batch in refusals if input_file_is_invisible(batch)]
    if last not in refusals or len(invisible) > INVISIBLE_FILE_ATTEMPTS:
        return Plan(last)
    return Plan(last, submit=_is_due(last, len(refusals), batches, now), waiting=_waiting(last, len(refusals)))


def is_live(batch: BatchSnapshot) -> bool:
    """Whether a batch may still complete, and nobody has asked it to stop."""
    return batch.status not in (*SUCCEEDED, *FAILED, "cancelling")


def stands(batch: BatchSnapshot) -> bool:
    """Whether a batch is the answer by itself, whatever others there are."""
    return is_live(batch) or batch.status in SUCCEEDED


def is_due_for_a_look(batch: BatchSnapshot, *, looked_at: float | None, now: float) -> bool:
    """Whether it is time to make sure that a batch is the only one of its task.

    Args:
        batch: The one that is known.
        looked_at: When that was made sure of last, by this process; `None`: never.
        now: Unix seconds, as the others.
    """
    is_young = abs(now - batch.times.get("created_at", 0.0)) < RACE_SECONDS
    # Once it has completed nobody looks again.
    is_time = looked_at is None or now - looked_at >= LOOK_SECONDS or batch.status in SUCCEEDED
    return is_young and is_time


def seconds_to_wait(refusals: int) -> float:
    """How long to wait after so many refusals in a row: 1, 2, 4, ... minutes, at most 30."""
    return float(min(FIRST_WAIT_SECONDS * 2 ** min(refusals - 1, 10), LONGEST_WAIT_SECONDS))


def judge(batch: BatchSnapshot, *, now: float, partial_results: bool = False) -> Verdict:
    """What a batch has come to.

    Args:
        batch: Its latest state. A status that is not known counts as running: servers have statuses of their own, and
            waiting is the mistake that costs nothing.
        now: Unix seconds.
        partial_results: Whether the results of a batch that expired or was cancelled are good enough.
    """
    if batch.status in SUCCEEDED:
        if _files_are_late(batch, now):
            return Verdict(Outcome.RUNNING, f"completed: {_counts(batch)}; its result files are not there yet")
        return Verdict(Outcome.SUCCEEDED, f"completed: {_counts(batch)}")
    if batch.status == "failed":
        return _failed(batch)
    if batch.status in FAILED:
        outcome = Outcome.SUCCEEDED if partial_results and batch.output_file_id else Outcome.FAILED
        return Verdict(outcome, f"batch {batch.id!r} {_was(batch.status)}: {_counts(batch)}{_whereabouts(batch)}")
    status = batch.status.replace("_", " ") or "status not known"
    return Verdict(Outcome.RUNNING, f"{status}: {_counts(batch)}" if batch.total else status)


def input_file_is_invisible(batch: BatchSnapshot) -> bool:
    """Whether the batch failed because its key cannot see the input file: often the key of another project."""
    return any(
        error.code == "invalid_request" and (error.param == "file_id" or "Cannot find file" in (error.message or ""))
        for error in batch.errors
    )


def _age(batch: BatchSnapshot) -> tuple[float, str]:
    """What sorts batches by age; every replica must come to the same order."""
    return batch.times.get("created_at", 0.0), batch.id


def _belongs_to(attempt: str, batch: BatchSnapshot, adopted: str) -> bool:
    if batch.key is not None and batch.key.attempt == attempt:
        return True
    # What an earlier attempt made may be cancelled on behalf of that one even after this one has adopted it.
    return batch.id == adopted and batch.status not in ("cancelling", "cancelled")


def _was_surplus(batch: BatchSnapshot, of_file: Sequence[BatchSnapshot]) -> bool:
    """Whether a batch was cancelled because an older one ran, which came to an end of its own only later."""
    stopped_at = batch.times.get("cancelling_at", batch.ended_at)
    if batch.status not in ("cancelling", "cancelled") or stopped_at is None:
        return False
    older = of_file[: of_file.index(batch)]
    return any(_ran_until(other) >= stopped_at for other in older)


def _ran_until(batch: BatchSnapshot) -> float:
    """When a batch came to its end, or was asked to; later than anything while it runs."""
    return min(batch.times.get("cancelling_at", math.inf), math.inf if batch.ended_at is None else batch.ended_at)


def _is_refused_for_now(batch: BatchSnapshot, file_is_visible: bool) -> bool:
    if batch.status != "failed":
        return False
    return _is_over_quota(batch) or (file_is_visible and input_file_is_invisible(batch))


def _is_over_quota(batch: BatchSnapshot) -> bool:
    return any(error.code in QUOTA_ERRORS for error in batch.errors)


def _is_due(last: BatchSnapshot, refusals: int, batches: Sequence[BatchSnapshot], now: float) -> bool:
    refused_at = last.ended_at or last.times.get("created_at", 0.0)
    others = (batch.ended_at or 0.0 for batch in batches if not _is_refused_for_now(batch, file_is_visible=True))
    # Not for long by a server's clock that is wrong by far.
    return abs(now - refused_at) >= seconds_to_wait(refusals) or any(ended > refused_at for ended in others)


def _waiting(last: BatchSnapshot, refusals: int) -> str:
    reason = last.errors[0].message or last.errors[0].code or ""
    times = "once" if refusals == 1 else f"{refusals} times"
    what = "does not find the file yet" if input_file_is_invisible(last) else "has no room for the batch"
    return f"waiting: OpenAI {what}, and refused it {times} so far ({reason}); it will be submitted again"


def _failed(batch: BatchSnapshot) -> Verdict:
    if all(error.code in INTERNAL_ERRORS and error.line is None for error in batch.errors):
        reason = f": {_list(batch.errors)}" if batch.errors else ", without giving a reason"
        return Verdict(Outcome.WORTH_RETRYING, f"OpenAI failed batch {batch.id!r}{reason}")
    return Verdict(Outcome.FAILED, _list(batch.errors))


def _files_are_late(batch: BatchSnapshot, now: float) -> bool:
    missing = (batch.completed and not batch.output_file_id) or (batch.failed and not batch.error_file_id)
    ended = batch.times.get("completed_at")
    return bool(missing) and ended is not None and abs(now - ended) < LATE_FILES_SECONDS


def _counts(batch: BatchSnapshot) -> str:
    if not batch.total:
        return "requests not counted"
    failed = f", {batch.failed:,} failed" if batch.failed else ""
    return f"{batch.done:,} of {batch.total:,} requests done{failed}"


def _list(errors: Sequence[BatchError]) -> str:
    """`3 errors: line 7: duplicate_custom_id: ... (and 2 more)`."""
    if len(errors) == 1:
        return f"1 error: {errors[0]}"
    return f"{len(errors):,} errors: {errors[0]} (and {len(errors) - 1:,} more)"


def _was(status: str) -> str:
    return "was cancelled" if status == "cancelled" else status


def _whereabouts(batch: BatchSnapshot) -> str:
    return f"; what was finished is in file {batch.output_file_id!r}" if batch.output_file_id else ""
