"""Observes the batches of one task: retrieves those that are known, and lists those that are not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Container, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from flytekitplugins.openai.exceptions import OpenAIPluginError, RefusedError

from .failure_log import record_failure
from .policy.batch_phase import FAILED, is_final
from .policy.task_plan import TaskPlan
from .shared_view import Listed
from .state.snapshot import BatchSnapshot
from .task_call import TaskCall

__all__ = ["Observer"]

# How many batches one poll retrieves. Where there are more, they take turns.
MAX_RETRIEVED = 50

T = TypeVar("T")


class Observer:
    """The observed state of one task, within one call of the connector. Methods raise what `BatchesAPI` raises."""

    def __init__(self, call: TaskCall) -> None:
        self._api, self._spec, self._state, self._now = call.api, call.spec, call.state, call.now

    async def current_batches(self) -> dict[str, BatchSnapshot]:
        """The task's current batches as they are now, keyed by input file id."""
        files, state = self._spec.files, self._state
        last_seen = {file_id: state.batches[file_id] for file_id in files if file_id in state.batches}
        current = {file_id: self.owned(state.final.get(b.id, b), file_id) for file_id, b in last_seen.items()}
        ids = {file_id: batch.id for file_id, batch in current.items() if batch.id not in state.final}
        first = files[0] if files else ""
        if self._spec.batch_id and first not in current:
            ids[first] = self._spec.batch_id
        reused = {file_id: batch_id for file_id, batch_id in self._spec.reused.items() if batch_id not in state.gone}
        ids |= {file_id: batch_id for file_id, batch_id in reused.items() if file_id not in current}
        due = sorted(ids, key=lambda file_id: state.polled_at.get(ids[file_id], 0.0))[:MAX_RETRIEVED]
        replies = await self._observed({file_id: ids[file_id] for file_id in due}, last_seen, reused)
        errors = [reply for reply in replies.values() if isinstance(reply, Exception)]
        if len(errors) == len(due) > 0:
            raise errors[0]
        for file_id, reply in replies.items():
            if isinstance(reply, Exception):
                record_failure("poll_failures", reply, task=self._spec, first=False)
            elif reply is not None:
                current[file_id] = self.owned(reply, file_id)
                if reply.id in state.final:
                    state.final[reply.id] = self.owned(state.final[reply.id], file_id)
        return current

    async def other_batches(self, current: Mapping[str, BatchSnapshot]) -> list[BatchSnapshot]:
        """All other batches of the task's node, of every attempt.

        Args:
            current: The batches to leave out, keyed by input file id.
        """
        key = self._spec.key
        if key is None:
            raise ValueError("the batches of a task without an idempotency key cannot be found")
        known = {batch.id for batch in current.values()}
        if self.is_complete:
            return [batch for batch in self._state.final.values() if batch.id not in known]
        listed = [batch for batch in await self._api.list_by_node(key.node) if batch.id not in known]
        return await asyncio.gather(*map(self._updated, listed))

    async def batches_to_cancel(self) -> list[BatchSnapshot]:
        """The batches of this attempt and of earlier ones that OpenAI lists."""
        key = self._spec.key
        if key is None:
            return []
        listed = [batch for batch in await self._api.list_by_node(key.node) if key.ends(batch.key)]
        return await asyncio.gather(*map(self._updated, listed))

    async def with_full_batches(self, plan: TaskPlan) -> TaskPlan:
        """The plan with every final batch retrieved: OpenAI's list leaves out parts of some."""
        short = {
            index: shard.batch.id
            for index, shard in enumerate(plan.shards)
            if shard.batch is not None
            and is_final(shard.batch, now=self._now)
            and shard.batch.id not in self._state.final
        }
        replies = await asyncio.gather(*map(self._retrieve, short.values()))
        for index, batch in zip(short, replies, strict=True):
            plan = plan.with_shard(index, replace(plan.shards[index], batch=batch))
        return plan

    def owned(self, batch: BatchSnapshot, file_id: str) -> BatchSnapshot:
        """A batch of the task with its idempotency key and file, which some servers leave out of their replies."""
        return replace(batch, key=batch.key or self._spec.key, input_file_id=file_id or batch.input_file_id)

    @property
    def is_complete(self) -> bool:
        """Whether this process knows all batches of the task, so that OpenAI need not list them."""
        return self._spec.local and not self._state.may_have_unknown_batch

    async def _observed(
        self, ids: Mapping[str, str], last_seen: Mapping[str, BatchSnapshot], reused: Container[str]
    ) -> dict[str, BatchSnapshot | Exception | None]:
        """Batches as they are now, or were less than 10 seconds ago, or why that is not known; keyed by input file id.

        Args:
            ids: Their ids, by input file id.
            last_seen: As they were seen last.
            reused: The files whose batches are of an earlier run, and may be gone; such a one is `None`.
        """
        listed: dict[str, Listed] = {}
        # A local run has few batches, and a task without a key is nobody's on the list.
        if not self._spec.local and self._spec.key is not None:
            found = await _together([self._api.find_shared(ids[file_id], last_seen.get(file_id)) for file_id in ids])
            listed = {file_id: one for file_id, one in zip(ids, found, strict=True) if one is not None}
        looked_up: dict[str, BatchSnapshot | Exception | None] = {}
        # While some are looked up, others may grow too old.
        while late := [id_ for id_ in ids if id_ not in looked_up and not (id_ in listed and listed[id_].is_fresh)]:
            replies = await _together([self._looked_up(ids[id_], is_reused=id_ in reused) for id_ in late])
            looked_up.update(zip(late, replies, strict=True))
        self._state.polled_at.update((ids[id_], self._now) for id_ in ids if id_ not in looked_up)
        return {id_: looked_up[id_] if id_ in looked_up else listed[id_].batch for id_ in ids}

    async def _looked_up(self, batch_id: str, *, is_reused: bool) -> BatchSnapshot | Exception | None:
        """A batch as it is now, or why that is not known; `None` for one of an earlier run that is gone."""
        try:
            return await self._retrieve(batch_id)
        except RefusedError as error:
            if not is_reused or error.answer is None or error.answer.status != 404:
                return error
            self._state.gone.add(batch_id)
            return None
        except Exception as error:  # noqa: BLE001 (the others of the task are known even so)
            return error

    async def _retrieve(self, batch_id: str) -> BatchSnapshot:
        """A batch as it is now. A final one is kept at once, even if this call does not end in time."""
        batch = await self._api.retrieve(batch_id)
        if is_final(batch, now=self._now):
            self._state.final[batch_id] = batch if len(self._spec.files) == 1 else replace(batch, raw={})
        self._state.polled_at[batch_id] = self._now
        return batch

    async def _updated(self, listed: BatchSnapshot) -> BatchSnapshot:
        """A listed batch as it is now. One that failed, expired or was cancelled does not change."""
        if listed.status in FAILED:
            return listed
        try:
            batch = self._state.final.get(listed.id) or await self._retrieve(listed.id)
        except OpenAIPluginError:
            # That it exists is known, and matters most.
            return listed
        # Some servers report more in their list than in their replies, others less.
        return replace(batch, key=listed.key, input_file_id=listed.input_file_id or batch.input_file_id)


async def _together(calls: Sequence[Awaitable[T]]) -> list[T]:
    """The results of calls that run at the same time."""
    # Most tasks have one batch, which needs no task of asyncio's.
    return [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)
