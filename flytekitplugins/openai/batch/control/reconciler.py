"""Reconciles the observed batches of one task with its plan: submits what is due, and cancels duplicates."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from flytekitplugins.openai.exceptions import OpenAIPluginError, RefusedBatchError, UnavailableError

from .failure_log import record_failure
from .observer import Observer
from .policy.batch_phase import has_passed_validation, is_final, is_live, is_live_or_completed
from .policy.creation_body import shard_creation_body
from .policy.retry_policy import backoff_seconds, input_file_is_invisible, is_final_refusal, is_rate_limited
from .policy.shard_plan import ShardPlan, is_duplicate_check_due
from .policy.task_plan import TaskPlan, plan_task
from .state.snapshot import BatchSnapshot
from .task_call import TaskCall

__all__ = ["Reconciler"]

# No batch is created later than this in a call, because its reply must come before the call ends.
SUBMISSION_SECONDS = 4.0


class Reconciler:
    """Reconciles one task, within one call of the connector. Methods raise what `BatchesAPI` raises."""

    def __init__(self, call: TaskCall) -> None:
        self._api, self._spec, self._state, self._now = call.api, call.spec, call.state, call.now
        self._observer = Observer(call)
        self._submits_until = time.monotonic() + SUBMISSION_SECONDS

    async def reconcile(self) -> TaskPlan:
        """Compare the task's batches with its plan; submit or cancel until each input file has one live batch."""
        current = await self._observer.current_batches()
        if self._spec.key is None:
            return TaskPlan(tuple(ShardPlan(batch) for batch in current.values()))
        batches = list(current.values())
        if self._is_list_needed(batches):
            return await self.submit(current)
        self._note_start(batches)
        if all(map(is_live_or_completed, batches)):
            # Most polls end here.
            return self._still_waiting(TaskPlan(tuple(ShardPlan(current[file_id]) for file_id in self._spec.files)))
        plan = self._plan(batches, current)
        # What waits or is due depends on all other batches of the node. So does the end of a single batch.
        if self._spec.shards is None or any(
            shard.waiting or shard.submit or shard.wrongly_not_found for shard in plan.shards
        ):
            return await self.submit(current)
        return self._still_waiting(plan)

    async def submit(self, current: Mapping[str, BatchSnapshot] | None = None) -> TaskPlan:
        """Look for the task's batches in OpenAI's list; submit what is due, and cancel duplicates.

        Args:
            current: The task's current batches, keyed by input file id. They count even when OpenAI's list lacks them.
        """
        current = current or {}
        plan = await self._submit_due(await self._list_and_plan(current), current)
        # Whatever fails from here on, the task has these batches.
        self._state.record(plan.by_file(self._spec.files), self._state.last_info)
        plan = await self._observer.with_full_batches(plan)
        try:
            await self._cancel_all([batch.id for batch in plan.duplicates], listed=True)
        except OpenAIPluginError as error:
            # The next poll checks again, and the task's phase is known all the same.
            record_failure("cancel_failures", error, task=self._spec)
        else:
            self._state.duplicates_checked_at = self._now
        return plan

    async def cancel(self) -> list[str]:
        """Cancel every batch of the task and of its earlier attempts; returns the ids of those that will stop."""
        # The known batches first: they are cancelled even if the list cannot be read.
        running = (batch for batch in self._state.batches.values() if not is_final(batch, now=self._now))
        stopped = await self._cancel_all({self._spec.batch_id, *(batch.id for batch in running)} - {""})
        listed = [batch.id for batch in await self._observer.batches_to_cancel() if is_live(batch)]
        return stopped + await self._cancel_all(listed, listed=True)

    def _is_list_needed(self, current: Sequence[BatchSnapshot]) -> bool:
        """Whether a file has no batch yet, or it is time to check for duplicates."""
        if len(current) < len(self._spec.files):
            return True
        checked_at = self._state.duplicates_checked_at
        is_due = any(is_duplicate_check_due(batch, checked_at=checked_at, now=self._now) for batch in current)
        return is_due and not self._observer.is_complete

    async def _list_and_plan(self, current: Mapping[str, BatchSnapshot]) -> TaskPlan:
        batches = [*current.values(), *await self._observer.other_batches(current)]
        # Asked only where it matters: for the files of batches that failed because the file was not found.
        doubtful = {batch.input_file_id for batch in batches if input_file_is_invisible(batch)} & {*self._spec.files}
        invisible = [file_id for file_id in doubtful if file_id and not await self._api.sees_file(file_id)]
        return self._plan(batches, current, invisible=invisible)

    def _plan(
        self, batches: Sequence[BatchSnapshot], current: Mapping[str, BatchSnapshot], *, invisible: Sequence[str] = ()
    ) -> TaskPlan:
        self._note_start(batches)
        return plan_task(
            batches,
            files=self._spec.files,
            attempt=self._attempt,
            adopted={batch.id for batch in current.values()},
            invisible=invisible,
            max_concurrent_batches=self._spec.max_concurrent_batches,
            manifest=self._spec.contents,
            gone=self._state.gone,
            now=self._now,
        )

    def _note_start(self, batches: Iterable[BatchSnapshot]) -> None:
        """Note whether any batch of the attempt has passed validation, even if it is no longer current."""
        attempt = self._attempt
        own = (batch for batch in batches if batch.key is None or batch.key.attempt == attempt)
        self._state.has_started = self._state.has_started or any(map(has_passed_validation, own))

    @property
    def _attempt(self) -> str:
        return self._spec.key.attempt if self._spec.key else ""

    async def _submit_due(self, plan: TaskPlan, current: Mapping[str, BatchSnapshot]) -> TaskPlan:
        if self._now < self._state.backoff_until:
            return plan
        for index in plan.submit:
            if time.monotonic() >= self._submits_until:
                break
            shard, file_id = plan.shards[index], self._spec.files[index]
            if not shard.submit:
                # An earlier look-up in this loop found a batch of it.
                continue
            try:
                batch = await self._create(index)
            except RefusedBatchError as refusal:
                return self._with_refusal(plan, refusal)
            except UnavailableError as error:
                # Perhaps only the reply was lost. If no batch is found, the next poll looks and tries again; a server
                # that is still at work on this request would create a second batch if it were sent again at once.
                plan = await self._list_and_plan({**current, **plan.by_file(self._spec.files)})
                if plan.shards[index].submit:
                    return self._backed_off(plan, error)
                continue
            self._state.end_backoff()
            self._state.batches[file_id] = batch
            plan = plan.with_shard(index, ShardPlan(batch, waiting=shard.waiting))
        return plan

    async def _create(self, index: int) -> BatchSnapshot:
        """Create the batch of a file. Until the reply arrives, there may be a batch that this process does not know."""
        spec, was_unsure = self._spec, self._state.may_have_unknown_batch
        file_id = spec.files[index]
        body = shard_creation_body(
            spec.request or {},
            input_file_id=file_id,
            number=index,
            of=len(spec.files),
            digest=spec.contents.files[index].digest if spec.contents else "",
        )
        self._state.may_have_unknown_batch = True
        try:
            batch = await self._api.create(body)
        except RefusedBatchError:
            self._state.may_have_unknown_batch = was_unsure
            raise
        except UnavailableError as error:
            self._state.may_have_unknown_batch = was_unsure or error.was_sent
            raise
        self._state.may_have_unknown_batch = was_unsure
        return self._observer.owned(batch, file_id)

    def _backed_off(self, plan: TaskPlan, error: OpenAIPluginError) -> TaskPlan:
        """Go on with the batches that there are, and back off if OpenAI asked for it.

        Raises:
            OpenAIPluginError: `error`, if the task has no batch that could go on.
        """
        if not plan.has_accepted:
            raise error from None
        record_failure("submission_failures", error, task=self._spec, first=self._state.refusals == 0)
        answer = error.answer
        if answer and (isinstance(error, RefusedBatchError) or is_rate_limited(answer.status, answer.code)):
            seconds = backoff_seconds(self._state.refusals + 1, retry_after=answer.retry_after)
            self._state.back_off(until=self._now + seconds)
        return plan

    def _with_refusal(self, plan: TaskPlan, refusal: RefusedBatchError) -> TaskPlan:
        """The plan after OpenAI refused a batch. If nothing of the task is live, the refusal ends it."""
        is_final = is_final_refusal(refusal.answer.status if refusal.answer else None)
        if not is_final or plan.has_live or not (plan.has_accepted or self._spec.tolerant):
            return self._backed_off(plan, refusal)
        shards = (
            replace(shard, refused=str(refusal)) if shard.batch is None or shard.waiting else shard
            for shard in plan.shards
        )
        return replace(plan, shards=tuple(shards))

    async def _cancel_all(self, batch_ids: Iterable[str], *, listed: bool = False) -> list[str]:
        ids = list(batch_ids)
        replies = await asyncio.gather(
            *(self._api.cancel(batch_id, listed=listed) for batch_id in ids), return_exceptions=True
        )
        for reply in replies:
            if isinstance(reply, BaseException):
                raise reply
        return [batch_id for batch_id, will_stop in zip(ids, replies, strict=True) if will_stop]

    def _still_waiting(self, plan: TaskPlan) -> TaskPlan:
        """The plan in which a resubmitted batch waits until it has passed validation: it may be refused again."""
        if not self._state.waiting:
            return plan
        shards = (
            replace(shard, waiting=self._state.waiting) if shard.batch and shard.batch.status == "validating" else shard
            for shard in plan.shards
        )
        return replace(plan, shards=tuple(shards))
