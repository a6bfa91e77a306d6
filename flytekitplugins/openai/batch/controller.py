"""What is done about the batches of one task: the decisions are `lifecycle`'s, the calls `remote`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from flytekitplugins.openai.exceptions import OpenAIPluginError, UnavailableError

from . import lifecycle
from .endurance import report
from .lifecycle import Outcome, Plan
from .memory import TaskMemory
from .order import Order
from .remote import RemoteBatches
from .snapshot import BatchSnapshot

__all__ = ["Controller"]


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

    async def look_after(self) -> Plan:
        """See how the task is, and do what is needed for it to have one batch that runs."""
        if self._order.key is None:
            return Plan(await self._remote.retrieve(self._order.batch_id))
        batch_id = self._task.batch_id or self._order.batch_id
        if not batch_id:
            return await self.settle()
        batch = await self._remote.retrieve(batch_id)
        due = lifecycle.is_due_for_a_look(batch, looked_at=self._task.looked_at, now=self._now)
        if lifecycle.stands(batch) and not due:
            return Plan(batch, waiting=self._still_waiting(batch))
        return await self.settle(known=batch)

    async def settle(self, *, known: BatchSnapshot | None = None) -> Plan:
        """Find the batches of the task; cancel what is too much, and submit the file if that is due.

        Args:
            known: A batch of the task's as it is now. It counts even if it is not on OpenAI's list.
        """
        plan = await self._look(known)
        if plan.submit:
            plan = await self._submit(plan, known)
        elif plan.batch is not None and not plan.batch.raw:
            # The list's word for it is short.
            plan = replace(plan, batch=await self._remote.retrieve(plan.batch.id))
        try:
            await self._cancel_listed(plan.surplus)
        except OpenAIPluginError as error:
            # The next poll looks again; what became of the task is known all the same.
            report("cancel", error, name=self._order.label)
        else:
            self._task.looked_at = self._now
        return plan

    async def cancel(self) -> list[str]:
        """Cancel every batch of the task, and of its earlier attempts; returns the ids of those that stop for it."""
        # The known ones first: whatever goes wrong with the list, these are cancelled.
        known = {self._order.batch_id, self._task.batch_id} - {""}
        stopped = [batch_id for batch_id in known if await self._remote.cancel(batch_id)]
        key = self._order.key
        if key is not None:
            found = [batch for batch in await self._remote.of_node(key.node) if key.ends(batch.key)]
            stopped += await self._cancel_listed(batch for batch in found if lifecycle.is_live(batch))
        return stopped

    async def _look(self, known: BatchSnapshot | None) -> Plan:
        request, key = self._order.request, self._order.key
        if request is None or key is None:
            raise ValueError("a task without a key has no batches to find")
        file_id = request["input_file_id"]
        batches = [batch for batch in await self._remote.of_node(key.node) if known is None or batch.id != known.id]
        if known is not None:
            # Some servers tell less of a batch than they were told.
            batches.append(replace(known, key=known.key or key, input_file_id=file_id))
        # Asked only when it matters: the file of a batch that failed because it was not found.
        doubted = any(batch.input_file_id == file_id and lifecycle.input_file_is_invisible(batch) for batch in batches)
        return lifecycle.make_plan(
            batches,
            input_file_id=file_id,
            attempt=key.attempt,
            adopted=known.id if known else "",
            file_is_visible=await self._remote.sees_file(file_id) if doubted else True,
            now=self._now,
        )

    async def _submit(self, plan: Plan, known: BatchSnapshot | None) -> Plan:
        try:
            batch = await self._remote.create(self._order.request or {})
        except UnavailableError as error:
            # The reply may be all that was lost. If not, the next poll looks again, and tries again: at once, a server
            # that is still at work on the first request would make a second batch.
            found = await self._look(known)
            if found.submit:
                raise error from None
            return found
        return Plan(batch, waiting=plan.waiting)

    async def _cancel_listed(self, batches: Iterable[BatchSnapshot]) -> list[str]:
        ids = [batch.id for batch in batches]
        stops = await asyncio.gather(*(self._remote.cancel(batch_id, listed=True) for batch_id in ids))
        return [batch_id for batch_id, stop in zip(ids, stops, strict=True) if stop]

    def _still_waiting(self, batch: BatchSnapshot) -> str:
        """Until a batch that was submitted again has passed validation, it may well be refused again."""
        last = self._task.verdict
        return last.message if last and last.outcome is Outcome.WAITING and batch.status == "validating" else ""
