"""Reconciles the batches of one task: carries out what `plan` decides, through the calls of `api`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from flytekitplugins.openai.exceptions import OpenAIPluginError, RefusedBatchError, UnavailableError

from . import batch_outcome, retry_policy
from .api import RemoteBatches
from .plan import ShardPlan, TaskPlan, is_due_for_a_look, plan_task
from .poll_errors import report
from .poll_state import TaskMemory
from .snapshot import BatchSnapshot
from .task_spec import Order

__all__ = ["Controller"]

# No batch is made any more when a call has taken so long: the answer must come before the call ends.
SUBMITTING_SECONDS = 4.0
# How many batches are asked about in one poll; where there are more, they take turns.
MOST_ASKED = 50


class Controller:
    """Takes care of one task, within one call of the connector. Every method raises what `RemoteBatches` raises.

    Args:
        remote: Whose batches.
        order: What the task asked for.
        task: What is remembered of it.
        now: Unix seconds.
    """

    def __init__(self, remote: RemoteBatches, order: Order, task: TaskMemory, *, now: float) -> None:
        self._remote = remote
        self._order = order
        self._task = task
        self._now = now
        self._submits_until = time.monotonic() + SUBMITTING_SECONDS

    async def reconcile(self) -> TaskPlan:
        """Compare the task's batches with its plan, and submit or cancel until each input file has one live batch."""
        known = await self.known()
        if self._order.key is None:
            return TaskPlan(tuple(ShardPlan(batch) for batch in known.values()))
        batches = list(known.values())
        young = any(is_due_for_a_look(batch, looked_at=self._task.looked_at, now=self._now) for batch in batches)
        due = young and not self._is_alone
        if due or len(known) < len(self._order.files):
            return await self.submit(known)
        self._see(batches)
        if all(map(batch_outcome.stands, batches)):
            # Most polls come as far as this.
            return self._still_waiting(TaskPlan(tuple(ShardPlan(known[file_id]) for file_id in self._order.files)))
        plan = self._plan(batches, known)
        # What waits, or is to be made, depends on what else there is. So does the end of a single batch.
        if self._order.shards is None or any(shard.waiting or shard.submit or shard.is_seen for shard in plan.shards):
            return await self.submit(known)
        return self._still_waiting(plan)

    async def submit(self, known: Mapping[str, BatchSnapshot] | None = None) -> TaskPlan:
        """Look for the task's batches in OpenAI's list; cancel duplicates, and submit what is due.

        Args:
            known: The task's current batches, keyed by input file id. They count even when OpenAI's list lacks them.
        """
        known = known or {}
        plan = await self._submit_due(await self._look(known), known)
        plan = await self._in_full(plan)
        try:
            await self._cancel_all([batch.id for batch in plan.surplus], listed=True)
        except OpenAIPluginError as error:
            # The next poll looks again; what became of the task is known all the same.
            report("cancel_failures", error, name=self._order.label)
        else:
            self._task.looked_at = self._now
        return plan

    async def cancel(self) -> list[str]:
        """Cancel every batch of the task, and of its earlier attempts; returns the ids of those that stop for it."""
        # The known ones first: whatever goes wrong with the list, these are cancelled.
        running = (batch for batch in self._task.batches.values() if not batch_outcome.is_over(batch, now=self._now))
        known = {self._order.batch_id, *(batch.id for batch in running)} - {""}
        stopped = await self._cancel_all(known)
        key = self._order.key
        if key is not None:
            listed = [batch for batch in await self._remote.of_node(key.node) if key.ends(batch.key)]
            found = await asyncio.gather(*map(self._renewed, listed))
            stopped += await self._cancel_all(
                [batch.id for batch in found if batch_outcome.is_live(batch)], listed=True
            )
        return stopped

    async def known(self) -> dict[str, BatchSnapshot]:
        """The batches of the task whose ids are known, as they are now, by their files."""
        files = self._order.files
        last = {file_id: self._task.batches[file_id] for file_id in files if file_id in self._task.batches}
        known = {file_id: self._own(self._task.over.get(batch.id, batch), file_id) for file_id, batch in last.items()}
        first = files[0] if files else ""
        ids = {file_id: batch.id for file_id, batch in known.items() if batch.id not in self._task.over}
        if self._order.batch_id and first not in known:
            ids[first] = self._order.batch_id
        asked = sorted(ids, key=lambda file_id: self._task.asked_at.get(ids[file_id], 0.0))[:MOST_ASKED]
        if len(asked) == 1:
            # As most tasks; and what goes wrong is the task's.
            answers: list[BatchSnapshot | BaseException] = [await self._retrieve(ids[asked[0]])]
        else:
            each = (self._retrieve(ids[file_id]) for file_id in asked)
            answers = await asyncio.gather(*each, return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if len(errors) == len(asked) > 0:
            raise errors[0]
        for file_id, answer in zip(asked, answers, strict=True):
            if isinstance(answer, BaseException):
                report("poll_failures", _ours(answer), name=self._order.label, first=False)
                continue
            known[file_id] = self._own(answer, file_id)
            if answer.id in self._task.over:
                self._task.over[answer.id] = self._own(self._task.over[answer.id], file_id)
        return known

    async def _look(self, known: Mapping[str, BatchSnapshot]) -> TaskPlan:
        key = self._order.key
        if key is None:
            raise ValueError("a task without a key has no batches to find")
        ids = {batch.id for batch in known.values()}
        if self._is_alone:
            others = [batch for batch in self._task.over.values() if batch.id not in ids]
        else:
            listed = [batch for batch in await self._remote.of_node(key.node) if batch.id not in ids]
            others = await asyncio.gather(*map(self._renewed, listed))
        batches = [*known.values(), *others]
        # Asked only when it matters: the files of batches that failed because they were not found.
        doubted = {
            batch.input_file_id
            for batch in batches
            if batch.input_file_id in self._order.files and batch_outcome.input_file_is_invisible(batch)
        }
        invisible = [file_id for file_id in doubted if file_id and not await self._remote.sees_file(file_id)]
        return self._plan(batches, known, invisible=invisible)

    def _see(self, batches: Iterable[BatchSnapshot]) -> None:
        """Note whether any of the attempt's batches has passed validation, even if it no longer counts."""
        attempt = self._order.key.attempt if self._order.key else ""
        own = (batch for batch in batches if batch.key is None or batch.key.attempt == attempt)
        self._task.has_started = self._task.has_started or any(map(batch_outcome.has_passed_validation, own))

    def _plan(
        self,
        batches: Sequence[BatchSnapshot],
        known: Mapping[str, BatchSnapshot],
        *,
        invisible: Sequence[str] = (),
    ) -> TaskPlan:
        key = self._order.key
        self._see(batches)
        return plan_task(
            batches,
            files=self._order.files,
            attempt=key.attempt if key else "",
            adopted={batch.id for batch in known.values()},
            invisible=invisible,
            most=self._order.most,
            now=self._now,
        )

    async def _submit_due(self, plan: TaskPlan, known: Mapping[str, BatchSnapshot]) -> TaskPlan:
        if self._now < self._task.not_before:
            return plan
        for number in plan.submit:
            if time.monotonic() >= self._submits_until:
                break
            if not plan.shards[number].submit:
                # It has a batch by now.
                continue
            try:
                batch = await self._create(number)
            except RefusedBatchError as refusal:
                return self._refused(plan, refusal)
            except UnavailableError as error:
                # The reply may be all that was lost. If not, the next poll looks again, and tries again: at once, a
                # server that is still at work on the first request would make a second batch.
                found = await self._look({**known, **_by_file(plan)})
                if found.shards[number].submit:
                    return self._put_off(found, error)
                plan = found
                continue
            self._task.go_on_submitting()
            batch = self._own(batch, self._order.files[number])
            self._task.batches[self._order.files[number]] = batch
            plan = _with(plan, number, ShardPlan(batch, waiting=plan.shards[number].waiting))
        return plan

    async def _create(self, number: int) -> BatchSnapshot:
        """Create the batch of a file; while there is no reply, a batch may have been made all the same."""
        was_in_doubt, self._task.is_in_doubt = self._task.is_in_doubt, True
        try:
            batch = await self._remote.create(self._order.creation(number))
        except RefusedBatchError:
            self._task.is_in_doubt = was_in_doubt
            raise
        except UnavailableError as error:
            self._task.is_in_doubt = was_in_doubt or error.was_sent
            raise
        self._task.is_in_doubt = was_in_doubt
        return batch

    def _put_off(self, plan: TaskPlan, error: OpenAIPluginError) -> TaskPlan:
        """Go on with the batches there are; without any, there is nothing to tell but the error."""
        if not plan.has_any:
            raise error from None
        report("submission_failures", error, name=self._order.label, first=self._task.put_off == 0)
        answer = error.answer
        if answer is not None and (
            isinstance(error, RefusedBatchError) or retry_policy.is_asked_to_wait(answer.status, answer.code)
        ):
            self._task.put_off_submissions(retry_after=answer.retry_after, now=self._now)
        return plan

    def _refused(self, plan: TaskPlan, refusal: RefusedBatchError) -> TaskPlan:
        is_final = retry_policy.is_final_refusal(refusal.answer.status if refusal.answer else None)
        if not is_final or plan.has_live or not (plan.has_any or self._order.tolerant):
            return self._put_off(plan, refusal)
        # What there is of the task has ended, and nothing will be added.
        shards = (
            replace(shard, refused=str(refusal)) if shard.batch is None or shard.waiting else shard
            for shard in plan.shards
        )
        return replace(plan, shards=tuple(shards))

    @property
    def _is_alone(self) -> bool:
        """Whether this process knows all batches of the task, so that OpenAI need not be asked for its list."""
        return self._order.local and not self._task.is_in_doubt

    def _own(self, batch: BatchSnapshot, file_id: str) -> BatchSnapshot:
        """A batch of the task's, with what some servers leave out: they tell less of a batch than they were told."""
        return replace(batch, key=batch.key or self._order.key, input_file_id=file_id or batch.input_file_id)

    async def _retrieve(self, batch_id: str) -> BatchSnapshot:
        """A batch as it is now; what is over is kept at once, even if this call does not come to its end."""
        batch = await self._remote.retrieve(batch_id)
        if batch_outcome.is_over(batch, now=self._now):
            self._task.over[batch_id] = batch if len(self._order.files) == 1 else replace(batch, raw={})
        self._task.asked_at[batch_id] = self._now
        return batch

    async def _renewed(self, batch: BatchSnapshot) -> BatchSnapshot:
        """A listed batch as it is now; what failed, expired or was cancelled stays as it is."""
        if batch.status in batch_outcome.FAILED:
            return batch
        try:
            fresh = self._task.over.get(batch.id) or await self._retrieve(batch.id)
        except OpenAIPluginError:
            # That it exists is known, and what matters most.
            return batch
        # Some servers tell more of a batch in their list, others less.
        return replace(fresh, key=batch.key, input_file_id=batch.input_file_id or fresh.input_file_id)

    async def _in_full(self, plan: TaskPlan) -> TaskPlan:
        """The plan with all there is to know of the batches that are over: the list's word for some is short."""
        short = {
            number: shard.batch.id
            for number, shard in enumerate(plan.shards)
            if shard.batch is not None
            and batch_outcome.is_over(shard.batch, now=self._now)
            and shard.batch.id not in self._task.over
        }
        answers = await asyncio.gather(*map(self._retrieve, short.values()))
        for number, batch in zip(short, answers, strict=True):
            plan = _with(plan, number, replace(plan.shards[number], batch=batch))
        return plan

    async def _cancel_all(self, batch_ids: Iterable[str], *, listed: bool = False) -> list[str]:
        ids = list(batch_ids)
        stops = await asyncio.gather(
            *(self._remote.cancel(batch_id, listed=listed) for batch_id in ids), return_exceptions=True
        )
        for stop in stops:
            if isinstance(stop, BaseException):
                raise stop
        return [batch_id for batch_id, stop in zip(ids, stops, strict=True) if stop]

    def _still_waiting(self, plan: TaskPlan) -> TaskPlan:
        """Until a batch that was submitted again has passed validation, it may well be refused again."""
        if not self._task.waiting:
            return plan
        shards = (
            replace(shard, waiting=self._task.waiting) if shard.batch and shard.batch.status == "validating" else shard
            for shard in plan.shards
        )
        return replace(plan, shards=tuple(shards))


def _with(plan: TaskPlan, number: int, shard: ShardPlan) -> TaskPlan:
    return replace(plan, shards=(*plan.shards[:number], shard, *plan.shards[number + 1 :]))


def _by_file(plan: TaskPlan) -> dict[str, BatchSnapshot]:
    return {batch.input_file_id: batch for batch in plan.batches if batch.input_file_id}


def _ours(error: BaseException) -> Exception:
    if not isinstance(error, Exception):
        raise error
    return error
