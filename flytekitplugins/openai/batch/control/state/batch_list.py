"""Caches the list of an account's batches by the task they belong to. OpenAI lists all of them, newest first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from .list_order import ListOrder
from .snapshot import BatchSnapshot

__all__ = ["BatchList", "Fetch", "Page", "StaleListError"]

# No batch is of use, or does harm, for longer: a day in its window, and another attempt's day.
HORIZON_SECONDS = 72 * 3600.0
# A batch may appear in the list later than younger ones do.
OVERLAP_SECONDS = 600.0
# A batch that is older has not been left out because the list is behind.
LAG_SECONDS = 3600.0
MOST_ERRORS = 3
# Most often only the last few are new.
FIRST_PAGE, NEXT_PAGE = 20, 100


class StaleListError(Exception):
    """A batch that was on the list lately is not on it now: there is no telling what else is missing."""


@dataclass(frozen=True)
class Page:
    """A page of the list: some of its batches, and whether there are older ones.

    Attributes:
        entries: The batches as OpenAI shows them, by id, newest first.
    """

    entries: Mapping[str, Mapping[str, Any]]
    has_more: bool

    @cached_property
    def batches(self) -> list[BatchSnapshot]:
        """The same, parsed: it takes longer than all the rest of reading a page."""
        return [BatchSnapshot.from_dict(entry) for entry in self.entries.values()]


# Asks OpenAI for a page: of so many batches, older than the one with this id.
Fetch = Callable[[int, str | None], Awaitable[Page]]


@dataclass
class _UnreadRange:
    """A part of the list that is still to be read: what is older than batch `after`, back to the time `until`.

    Attributes:
        expected: Ids of batches that must be on it.
        read: Ids of the batches that were on it so far.
    """

    after: str | None
    until: float
    expected: set[str]
    read: set[str] = field(default_factory=set)


class BatchList:
    """Reads the list once, and afterwards only what is new of it.

    One asyncio task reads it, and all callers wait for that task. It goes on when a caller runs out of time, because
    tens of thousands of batches take longer than a call may.

    Attributes:
        order: The order in which the batches were read.
    """

    def __init__(self) -> None:
        self.order = ListOrder()
        self._reading: asyncio.Task[None] | None = None
        self._by_node: dict[str, dict[str, BatchSnapshot]] = {}
        self._unread: list[_UnreadRange] = []
        self._newest: float | None = None

    async def batches_of(self, node: str, fetch: Fetch) -> list[BatchSnapshot]:
        """The batches that were made for a node until now: what there is to know of them, without the answers.

        Raises:
            StaleListError: The list is behind.
            Exception: What `fetch` raises. It says nothing about what is on the list.
        """
        await self.refresh(fetch)
        return list(self._by_node.get(node, {}).values())

    async def refresh(self, fetch: Fetch) -> None:
        """Read what is on the list by now.

        Raises:
            StaleListError: The list is behind.
            Exception: What `fetch` raises. It says nothing about what is on the list.
        """
        under_way = self._reading
        if under_way is not None and not under_way.done():
            # It may have passed the place where what is looked for has appeared since.
            await asyncio.wait([under_way])
        if self._reading is None or self._reading is under_way or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read(fetch))
            # Looked at even if every caller has run out of time.
            self._reading.add_done_callback(lambda reading: reading.cancelled() or reading.exception())
        await asyncio.shield(self._reading)

    async def _read(self, fetch: Fetch) -> None:
        now = time.time()
        until = now - HORIZON_SECONDS if self._newest is None else self._newest - OVERLAP_SECONDS
        if not self._unread or self._unread[-1].after is not None:
            self._unread.append(
                _UnreadRange(after=None, until=until, expected=self._known_since(max(until, now - LAG_SECONDS)))
            )
        while self._unread:
            unread = self._unread[-1]
            size = FIRST_PAGE if unread.after is None else NEXT_PAGE
            page = await fetch(size, unread.after)
            self.order.record(page.batches, after=unread.after, now=now)
            if self._record(page, unread):
                self._unread.pop()
                if unread.expected:
                    raise StaleListError(f"it lacks {', '.join(sorted(unread.expected))}")
        self._forget_before(now - HORIZON_SECONDS)
        self.order.forget_before(now - HORIZON_SECONDS)

    def _record(self, page: Page, unread: _UnreadRange) -> bool:
        """Keep what is on a page; returns whether the unread ends with it."""
        for batch in page.batches:
            if batch.key is not None:
                self._by_node.setdefault(batch.key.node, {})[batch.id] = _record_of(batch)
            unread.expected.discard(batch.id)
        times = [batch.times["created_at"] for batch in page.batches if "created_at" in batch.times]
        if times:
            # A clock that is ahead must not hide what comes after.
            self._newest = min(max([*times, self._newest or 0.0]), time.time())
        oldest_id = page.batches[-1].id if page.batches else None
        # Some servers do not know `after`, and would give the same pages for ever.
        stuck = unread.read.issuperset(page.entries)
        unread.read.update(page.entries)
        unread.after = oldest_id or unread.after
        return stuck or not page.has_more or (bool(times) and times[-1] < unread.until)

    def _known_since(self, moment: float) -> set[str]:
        known = (batch for batches in self._by_node.values() for batch in batches.values())
        return {batch.id for batch in known if batch.times.get("created_at", 0.0) >= moment}

    def _forget_before(self, horizon: float) -> None:
        for node, batches in list(self._by_node.items()):
            kept = {id_: batch for id_, batch in batches.items() if batch.times.get("created_at", horizon) >= horizon}
            if kept:
                self._by_node[node] = kept
            else:
                del self._by_node[node]


def _record_of(batch: BatchSnapshot) -> BatchSnapshot:
    """What is needed to decide about a batch, and no more: an account may have made thousands."""
    return replace(batch, errors=batch.errors[:MOST_ERRORS], usage={}, raw={})
