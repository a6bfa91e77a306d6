"""Decides what to do next about a task's batches, given all that OpenAI lists of them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from .batch_outcome import FAILED, SUCCEEDED, input_file_is_invisible, is_internal_failure, is_live
from .snapshot import BatchSnapshot

__all__ = [
    "QUOTA_ERRORS",
    "ShardPlan",
    "TaskPlan",
    "is_due_for_a_look",
    "plan_shard",
    "plan_task",
    "seconds_to_wait",
]

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
# How often one is that OpenAI failed for reasons of its own, if it is a part of a larger task.
INTERNAL_FAILURE_ATTEMPTS = 3


@dataclass(frozen=True)
class ShardPlan:
    """What to do about the batches of one file.

    Attributes:
        batch: The one whose state is the file's; `None` while there is none.
        surplus: Others that run the same requests, and must be cancelled, or they are bought twice.
        submit: Whether a batch is to be made, as far as it goes by the file alone.
        waiting: Why the file waits to be submitted again, in words; "" when it does not.
        refusals: How often it was refused, if it waits.
        refused: Why OpenAI will not make a batch of it, in words; "" when that is not so.
        is_seen: Whether its batches failed because OpenAI did not find the file, which it has all the same.
    """

    batch: BatchSnapshot | None = None
    surplus: tuple[BatchSnapshot, ...] = ()
    submit: bool = False
    waiting: str = ""
    refusals: int = 0
    refused: str = ""
    is_seen: bool = False


@dataclass(frozen=True)
class TaskPlan:
    """What to do about all files of a task.

    Attributes:
        shards: A plan for each file, in the order of the files.
        submit: The places of the files of which a batch is to be made now, in that order.
    """

    shards: tuple[ShardPlan, ...]
    submit: tuple[int, ...] = ()
    surplus: tuple[BatchSnapshot, ...] = field(default=())

    @property
    def batches(self) -> list[BatchSnapshot]:
        """Those that count."""
        return [shard.batch for shard in self.shards if shard.batch is not None]

    @property
    def waiting(self) -> str:
        """Why the first file that waits does, in words; "" when none waits."""
        return next((shard.waiting for shard in self.shards if shard.waiting), "")

    @property
    def has_any(self) -> bool:
        """Whether the task has a batch that was not refused."""
        return any(shard.batch is not None and not shard.waiting for shard in self.shards)

    @property
    def has_live(self) -> bool:
        """Whether any of its batches may still complete."""
        return any(is_live(batch) for batch in self.batches)


def plan_task(
    batches: Sequence[BatchSnapshot],
    *,
    files: Sequence[str],
    attempt: str,
    adopted: Collection[str] = (),
    invisible: Collection[str] = (),
    most: int | None = None,
    now: float,
) -> TaskPlan:
    """What to do about a task, given all the batches of its node.

    Where OpenAI's queue was found full, batches are made one at a time until one passes validation, and then as many
    as have passed since: otherwise each of a hundred would be refused again and again.

    Args:
        batches: Of the node: of all its attempts, in any order.
        files: Those to run, each as a batch.
        attempt: The one that asks.
        adopted: The ids of batches that this attempt has taken for its own before.
        invisible: Those of the files that OpenAI says not to know.
        most: How many batches the task may have under way at once; `None`: any number.
        now: Unix seconds.
    """
    by_file: dict[str, list[BatchSnapshot]] = {file_id: [] for file_id in files}
    for batch in batches:
        by_file.setdefault(batch.input_file_id or "", []).append(batch)
    # Of all the others, what matters to a file is when there was room last.
    latest = max((batch for batch in batches if _room_shown_at(batch) is not None), key=_last_shown, default=None)
    shards = tuple(
        plan_shard(
            [*by_file[file_id], *([latest] if latest is not None and latest.input_file_id != file_id else [])],
            input_file_id=file_id,
            attempt=attempt,
            adopted=adopted,
            file_is_visible=file_id not in invisible,
            is_part=len(files) > 1,
            now=now,
        )
        for file_id in files
    )
    wanted = [number for number, shard in enumerate(shards) if shard.submit]
    room = _room(shards, batches, now)
    if most is not None:
        running = sum(batch.status not in (*SUCCEEDED, *FAILED) for batch in batches)
        room = min(room, most - running)
    return TaskPlan(
        shards,
        submit=tuple(wanted[: int(min(max(room, 0), len(wanted)))]),
        surplus=tuple(batch for shard in shards for batch in shard.surplus),
    )


def plan_shard(
    batches: Sequence[BatchSnapshot],
    *,
    input_file_id: str,
    attempt: str,
    adopted: Collection[str] = (),
    file_is_visible: bool = True,
    is_part: bool = False,
    now: float,
) -> ShardPlan:
    """What to do about one file, given all the batches of the node.

    A batch of the same file that runs or completed is taken, whichever attempt made it. What ended otherwise counts
    for the attempt that made it alone: the next attempt is there to try again.

    Args:
        batches: Of the node: of all its attempts, in any order.
        input_file_id: The file to run.
        attempt: The one that asks.
        adopted: The ids of batches that this attempt has taken for its own before.
        file_is_visible: Whether OpenAI says to know the file.
        is_part: Whether the task has other files. Then a failure of OpenAI's own is not the task's.
        now: Unix seconds.
    """
    of_file = sorted((batch for batch in batches if batch.input_file_id == input_file_id), key=_age)
    live = [batch for batch in of_file if is_live(batch)]
    good = [batch for batch in of_file if batch.status in SUCCEEDED] + live
    if good:
        return ShardPlan(good[0], surplus=tuple(batch for batch in live if batch is not good[0]))
    own = [batch for batch in of_file if _belongs_to(attempt, batch, adopted) and not _was_surplus(batch, of_file)]
    if not own:
        return ShardPlan(submit=True)
    last = own[-1]
    internal = [batch for batch in own if is_part and is_internal_failure(batch)]
    refusals = [batch for batch in own if batch in internal or _is_refused_for_now(batch, file_is_visible)]
    invisible = [batch for batch in refusals if input_file_is_invisible(batch)]
    if (
        last not in refusals
        or len(invisible) > INVISIBLE_FILE_ATTEMPTS
        or (last in internal and len(internal) > INTERNAL_FAILURE_ATTEMPTS)
    ):
        return ShardPlan(last, is_seen=file_is_visible and input_file_is_invisible(last))
    return ShardPlan(
        last,
        submit=_is_due(last, len(refusals), batches, now),
        waiting=_waiting(last, len(refusals)),
        refusals=len(refusals),
    )


def is_due_for_a_look(batch: BatchSnapshot, *, looked_at: float | None, now: float) -> bool:
    """Whether it is time to make sure that a batch is the only one of its file.

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


def _room(shards: Sequence[ShardPlan], batches: Sequence[BatchSnapshot], now: float) -> float:
    """For how many batches there is room at OpenAI, as far as one can tell."""
    waiting = [shard for shard in shards if shard.waiting and shard.batch is not None and _is_over_quota(shard.batch)]
    if not waiting:
        return math.inf
    refused_at = max(_refused_at(shard.batch) for shard in waiting if shard.batch is not None)
    shown = sum((_room_shown_at(batch) or 0.0) > refused_at for batch in batches)
    is_time = abs(now - refused_at) >= seconds_to_wait(max(shard.refusals for shard in waiting))
    if not shown and not is_time:
        return 0
    tried = sum(batch.status == "validating" and batch.times.get("created_at", 0.0) > refused_at for batch in batches)
    return max(1, shown) - tried


def _age(batch: BatchSnapshot) -> tuple[float, str]:
    """What sorts batches by age; every replica must come to the same order."""
    return batch.times.get("created_at", 0.0), batch.id


def _belongs_to(attempt: str, batch: BatchSnapshot, adopted: Collection[str]) -> bool:
    if batch.key is not None and batch.key.attempt == attempt:
        return True
    # What an earlier attempt made may be cancelled on behalf of that one even after this one has adopted it.
    return batch.id in adopted and batch.status not in ("cancelling", "cancelled")


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
    refused_at = _refused_at(last)
    # Not for long by a server's clock that is wrong by far.
    is_time = abs(now - refused_at) >= seconds_to_wait(refusals)
    return is_time or any((_room_shown_at(batch) or 0.0) > refused_at for batch in batches)


def _refused_at(batch: BatchSnapshot) -> float:
    return batch.ended_at or batch.times.get("created_at", 0.0)


def _room_shown_at(batch: BatchSnapshot) -> float | None:
    """When a batch last showed that OpenAI's queue has room: when it passed validation, or made room by its end."""
    if _is_refused_for_now(batch, file_is_visible=True) or is_internal_failure(batch):
        return None
    return batch.ended_at or batch.times.get("in_progress_at")


def _last_shown(batch: BatchSnapshot) -> tuple[float, str]:
    return _room_shown_at(batch) or 0.0, batch.id


def _waiting(last: BatchSnapshot, refusals: int) -> str:
    times = "once" if refusals == 1 else f"{refusals} times"
    if is_internal_failure(last):
        what = "failed the batch for reasons of its own, and did so"
    elif input_file_is_invisible(last):
        what = "does not find the file yet, and refused it"
    else:
        what = "has no room for the batch, and refused it"
    first = last.errors[0] if last.errors else None
    reason = (first.message or first.code) if first else None
    return f"waiting: OpenAI {what} {times} so far ({reason or 'no reason given'}); it will be submitted again"
