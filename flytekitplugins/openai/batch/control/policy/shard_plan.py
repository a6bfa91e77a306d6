"""Decides what to do about one input file, given all batches of its node."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot

from .batch_phase import SUCCEEDED, is_live
from .retry_policy import (
    INTERNAL_FAILURE_ATTEMPTS,
    INVISIBLE_FILE_ATTEMPTS,
    backoff_seconds,
    input_file_is_invisible,
    is_internal_failure,
    is_refused_for_now,
)

__all__ = ["REFUSED", "ShardPlan", "is_duplicate_check_due", "plan_shard", "refused_at", "room_seen_at"]

# A batch may appear long after its creator gave up waiting for the reply. For this long after a batch's creation, and
# this often, OpenAI's list is checked for duplicates.
RACE_SECONDS = 600.0
DUPLICATE_CHECK_SECONDS = 120.0


# The code of requests whose batch OpenAI would not create.
REFUSED = "refused"


@dataclass(frozen=True)
class ShardPlan:
    """What to do about one file.

    Attributes:
        batch: The file's current batch; `None` while there is none.
        duplicates: Other live batches of the same file. They must be cancelled, or their requests are paid for twice.
        submit: Whether a batch should be created, as far as this file alone decides it.
        waiting: Why the file waits to be resubmitted, in words; "" when it does not.
        times_refused: How often it was refused, if it waits.
        refused: Why OpenAI will not create a batch of it, in words; "" when that is not so.
        refusal_code: The code that its requests have for that reason.
        wrongly_not_found: Whether its batches failed because the Batch API did not find the file, which the Files API
            has.
    """

    batch: BatchSnapshot | None = None
    duplicates: tuple[BatchSnapshot, ...] = ()
    submit: bool = False
    waiting: str = ""
    times_refused: int = 0
    refused: str = ""
    refusal_code: str = REFUSED
    wrongly_not_found: bool = False


def plan_shard(
    batches: Sequence[BatchSnapshot],
    *,
    input_file_id: str,
    attempt: str,
    adopted: Collection[str] = (),
    file_is_visible: bool = True,
    of_several: bool = False,
    now: float,
) -> ShardPlan:
    """What to do about one file.

    A live or completed batch of the file is adopted, whichever attempt created it. A batch that ended otherwise counts
    only for its own attempt: the next attempt is there to retry.

    Args:
        batches: All batches of the node, of every attempt, in any order.
        input_file_id: The file to run.
        attempt: The current attempt.
        adopted: Ids of batches that this attempt has adopted before.
        file_is_visible: Whether OpenAI's Files API has the file.
        of_several: Whether the task has other files. An internal error at OpenAI is then resubmitted, three times at
            most.
        now: Unix seconds.
    """
    of_file = sorted((batch for batch in batches if batch.input_file_id == input_file_id), key=_age)
    live = [batch for batch in of_file if is_live(batch)]
    usable = [batch for batch in of_file if batch.status in SUCCEEDED] + live
    if usable:
        return ShardPlan(usable[0], duplicates=tuple(batch for batch in live if batch is not usable[0]))
    own = [batch for batch in of_file if _is_own(attempt, batch, adopted) and not _was_duplicate(batch, of_file)]
    if not own:
        return ShardPlan(submit=True)
    last = own[-1]
    internal = [batch for batch in own if of_several and is_internal_failure(batch)]
    refusals = [
        batch for batch in own if batch in internal or is_refused_for_now(batch, file_is_visible=file_is_visible)
    ]
    invisible = [batch for batch in refusals if input_file_is_invisible(batch)]
    if (
        last not in refusals
        or len(invisible) > INVISIBLE_FILE_ATTEMPTS
        or (last in internal and len(internal) > INTERNAL_FAILURE_ATTEMPTS)
    ):
        return ShardPlan(last, wrongly_not_found=file_is_visible and input_file_is_invisible(last))
    return ShardPlan(
        last,
        submit=_is_resubmission_due(last, len(refusals), batches, now),
        waiting=_waiting(last, len(refusals)),
        times_refused=len(refusals),
    )


def is_duplicate_check_due(batch: BatchSnapshot, *, checked_at: float | None, now: float) -> bool:
    """Whether it is time to look in OpenAI's list for duplicates of a batch.

    Args:
        batch: The file's current batch.
        checked_at: When this process checked last; `None`: never.
        now: Unix seconds, as the others.
    """
    is_young = abs(now - batch.times.get("created_at", 0.0)) < RACE_SECONDS
    # Once it has completed, no later poll would check.
    is_time = checked_at is None or now - checked_at >= DUPLICATE_CHECK_SECONDS or batch.status in SUCCEEDED
    return is_young and is_time


def refused_at(batch: BatchSnapshot) -> float:
    """When a failed batch was refused, in Unix seconds."""
    return batch.ended_at or batch.times.get("created_at", 0.0)


def room_seen_at(batch: BatchSnapshot) -> float | None:
    """When a batch last showed that OpenAI's queue has room: it passed validation, or made room when it ended."""
    if is_refused_for_now(batch, file_is_visible=True) or is_internal_failure(batch):
        return None
    return batch.ended_at or batch.times.get("in_progress_at")


def _age(batch: BatchSnapshot) -> tuple[float, str]:
    """Sorts batches by age. Every replica must get the same order."""
    return batch.times.get("created_at", 0.0), batch.id


def _is_own(attempt: str, batch: BatchSnapshot, adopted: Collection[str]) -> bool:
    if batch.key is not None and batch.key.attempt == attempt:
        return True
    # An earlier attempt's batch may be cancelled on behalf of that attempt even after this one has adopted it.
    return batch.id in adopted and batch.status not in ("cancelling", "cancelled")


def _was_duplicate(batch: BatchSnapshot, of_file: Sequence[BatchSnapshot]) -> bool:
    """Whether a batch was cancelled because an older one was running, which ended by itself only later."""
    stopped_at = batch.times.get("cancelling_at", batch.ended_at)
    if batch.status not in ("cancelling", "cancelled") or stopped_at is None:
        return False
    older = of_file[: of_file.index(batch)]
    return any(_ran_until(other) >= stopped_at for other in older)


def _ran_until(batch: BatchSnapshot) -> float:
    """When a batch ended, or was asked to; infinity while it runs."""
    return min(batch.times.get("cancelling_at", math.inf), math.inf if batch.ended_at is None else batch.ended_at)


def _is_resubmission_due(last: BatchSnapshot, refusals: int, batches: Sequence[BatchSnapshot], now: float) -> bool:
    at = refused_at(last)
    # `abs` limits the harm of a server's clock that is far ahead.
    backed_off = abs(now - at) >= backoff_seconds(refusals)
    return backed_off or any((room_seen_at(batch) or 0.0) > at for batch in batches)


def _waiting(last: BatchSnapshot, refusals: int) -> str:
    times = "once" if refusals == 1 else f"{refusals} times"
    if is_internal_failure(last):
        what = f"OpenAI failed the batch with an internal error, {times} so far"
    elif input_file_is_invisible(last):
        what = f"OpenAI does not find the file yet, and refused the batch {times} so far"
    else:
        what = f"OpenAI's queue is full, and the batch was refused {times} so far"
    first = last.errors[0] if last.errors else None
    reason = (first.message or first.code) if first else None
    return f"waiting: {what} ({reason or 'no reason given'}); it will be submitted again"
