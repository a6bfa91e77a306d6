"""Decides what to do about all files of a task, given all batches of its node."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from flytekitplugins.openai.batch.control.state.snapshot import BatchSnapshot
from flytekitplugins.openai.batch.records.manifest import Manifest

from .batch_phase import FAILED, SUCCEEDED, is_live
from .queues import Queues
from .retry_policy import backoff_seconds, is_over_quota
from .shard_plan import ShardPlan, plan_shard, refused_at, room_seen_at

__all__ = ["TaskPlan", "plan_task"]


@dataclass(frozen=True)
class TaskPlan:
    """What to do about all files of a task.

    Attributes:
        shards: A plan for each file, in the order of the files.
        submit: Indexes of the files for which a batch should be created now, in that order.
        duplicates: Batches to cancel.
        held: Why files that are due are not submitted yet, in words; "" when there are none.
        limits: How many tokens OpenAI's queue holds, by model, as far as it is known.
    """

    shards: tuple[ShardPlan, ...]
    submit: tuple[int, ...] = ()
    duplicates: tuple[BatchSnapshot, ...] = field(default=())
    held: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def batches(self) -> list[BatchSnapshot]:
        """The current batches of the files that have one."""
        return [shard.batch for shard in self.shards if shard.batch is not None]

    @property
    def waiting(self) -> str:
        """Why the first waiting file waits, in words; "" when none waits."""
        return next((shard.waiting for shard in self.shards if shard.waiting), "")

    @property
    def has_accepted(self) -> bool:
        """Whether the task has a batch that was not refused."""
        return any(shard.batch is not None and not shard.waiting for shard in self.shards)

    @property
    def has_live(self) -> bool:
        """Whether any of its batches may still complete."""
        return any(is_live(batch) for batch in self.batches)

    def enqueued_tokens(self, manifest: Manifest | None) -> int:
        """The prompt tokens of its batches that have not ended; 0 if what is in the files is not known."""
        entries = manifest.files if manifest is not None else ()
        return sum(
            entry.tokens
            for entry, shard in zip(entries, self.shards, strict=False)
            if shard.batch is not None and is_live(shard.batch)
        )

    def by_file(self, files: Sequence[str]) -> dict[str, BatchSnapshot]:
        """The current batches, keyed by input file id."""
        return {
            file_id: shard.batch for file_id, shard in zip(files, self.shards, strict=True) if shard.batch is not None
        }

    def with_shard(self, index: int, shard: ShardPlan) -> TaskPlan:
        """This plan with another one for a single file."""
        return replace(self, shards=(*self.shards[:index], shard, *self.shards[index + 1 :]))


def plan_task(
    batches: Sequence[BatchSnapshot],
    *,
    files: Sequence[str],
    attempt: str,
    adopted: Collection[str] = (),
    invisible: Collection[str] = (),
    max_concurrent_batches: int | None = None,
    manifest: Manifest | None = None,
    gone: Collection[str] = (),
    now: float,
) -> TaskPlan:
    """What to do about all files of a task.

    After OpenAI's queue was full, batches are created one at a time until one passes validation, and then as many as
    have passed since. Otherwise each of a hundred would be refused again and again.

    Args:
        batches: All batches of the node, of every attempt, in any order.
        files: Input file ids, one batch each.
        attempt: The current attempt.
        adopted: Ids of batches that this attempt has adopted before.
        invisible: Files that OpenAI's Files API does not have.
        max_concurrent_batches: How many batches of the task may be under way at once; `None`: any number.
        manifest: What is in the files, if it is known.
        gone: Batches of earlier runs that are to be reused, and that OpenAI does not have any more.
        now: Unix seconds.
    """
    by_file: dict[str, list[BatchSnapshot]] = {file_id: [] for file_id in files}
    for batch in batches:
        by_file.setdefault(batch.input_file_id or "", []).append(batch)
    # Of all other batches, a file needs only the one that showed last that there was room.
    latest = max((batch for batch in batches if room_seen_at(batch) is not None), key=_room_seen, default=None)
    shards = tuple(
        plan_shard(
            [*by_file[file_id], *([latest] if latest is not None and latest.input_file_id != file_id else [])],
            input_file_id=file_id,
            attempt=attempt,
            adopted=adopted,
            file_is_visible=file_id not in invisible,
            of_several=len(files) > 1,
            now=now,
        )
        for file_id in files
    )
    manifest = manifest or Manifest()
    queues = Queues(manifest, files, batches)
    shards = tuple(_unless_too_large(shard, number, queues) for number, shard in enumerate(shards))
    reused = {number: entry.reused for number, entry in enumerate(manifest.files) if entry.reused}
    shards = tuple(
        _unless_reused(shard, reused[number], gone) if number in reused else shard
        for number, shard in enumerate(shards)
    )
    all_due = [index for index, shard in enumerate(shards) if shard.submit]
    due = queues.fitting(all_due)
    room = _room_in_queue(shards, batches, now)
    if max_concurrent_batches is not None:
        running = sum(batch.status not in (*SUCCEEDED, *FAILED) for batch in batches)
        room = min(room, max_concurrent_batches - running)
    return TaskPlan(
        shards,
        submit=tuple(due[: int(min(max(room, 0), len(due)))]),
        duplicates=tuple(batch for shard in shards for batch in shard.duplicates),
        held=queues.waiting(sorted({*all_due} - {*due})),
        limits=queues.limits,
    )


def _unless_too_large(shard: ShardPlan, number: int, queues: Queues) -> ShardPlan:
    """The plan of a file, unless it waits, or is to be submitted, and OpenAI's queue can never hold it."""
    if not (shard.submit or shard.waiting) or not (reason := queues.too_large(number)):
        return shard
    return ShardPlan(shard.batch, refused=reason, refusal_code="token_limit_exceeded")


def _unless_reused(shard: ShardPlan, batch_id: str, gone: Collection[str]) -> ShardPlan:
    """The plan of a file that a batch of an earlier run stands for: until that has been seen, nothing is submitted."""
    if shard.batch is not None:
        return shard
    if batch_id not in gone:
        return ShardPlan()
    reason = f"OpenAI does not have batch {batch_id!r} any more, whose results were to be reused"
    return ShardPlan(refused=reason, refusal_code="missing")


def _room_in_queue(shards: Sequence[ShardPlan], batches: Sequence[BatchSnapshot], now: float) -> float:
    """How many more batches OpenAI's queue has room for, as far as can be known."""
    waiting = [shard for shard in shards if shard.waiting and shard.batch is not None and is_over_quota(shard.batch)]
    if not waiting:
        return math.inf
    last_refusal = max(refused_at(shard.batch) for shard in waiting if shard.batch is not None)
    passed = sum((room_seen_at(batch) or 0.0) > last_refusal for batch in batches)
    backed_off = abs(now - last_refusal) >= backoff_seconds(max(shard.times_refused for shard in waiting))
    if not passed and not backed_off:
        return 0
    probing = sum(
        batch.status == "validating" and batch.times.get("created_at", 0.0) > last_refusal for batch in batches
    )
    return max(1, passed) - probing


def _room_seen(batch: BatchSnapshot) -> tuple[float, str]:
    return room_seen_at(batch) or 0.0, batch.id
