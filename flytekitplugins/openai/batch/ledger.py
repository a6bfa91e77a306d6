"""Which batches an account has, by the task they were made for. OpenAI can only be asked for all, newest first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .snapshot import BatchSnapshot

__all__ = ["Fetch", "Ledger", "Page"]

# No batch is of use, or does harm, for longer: a day in its window, and another attempt's day.
HORIZON_SECONDS = 72 * 3600.0
# A batch may appear in the list later than younger ones do.
OVERLAP_SECONDS = 600.0
# Most often only the last few are new.
FIRST_PAGE, NEXT_PAGE = 20, 100


@dataclass(frozen=True)
class Page:
    """A page of the list: some of its batches, and whether there are older ones."""

    batches: list[BatchSnapshot]
    has_more: bool


# Asks OpenAI for a page: of so many batches, older than the one with this id.
Fetch = Callable[[int, str | None], Awaitable[Page]]


@dataclass
class _Stretch:
    """A part of the list that is still to be read: what is older than batch `after`, back to the time `until`."""

    after: str | None
    until: float


class Ledger:
    """Reads the list once, and afterwards only what is new of it.

    What was read is kept when a call runs out of time in the middle, and the next goes on from there: an account with
    tens of thousands of batches takes a new process several calls.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._by_node: dict[str, dict[str, BatchSnapshot]] = {}
        self._stretches: list[_Stretch] = []
        self._newest: float | None = None
        self._read_at: float | None = None

    async def batches_of(self, node: str, fetch: Fetch) -> list[BatchSnapshot]:
        """The batches that were made for a node until now, as they were when they were read.

        Raises:
            OpenAIPluginError: The list could not be read to its end; that says nothing about what is on it.
        """
        asked_at = time.monotonic()
        async with self._lock:
            # Who waited for another's reading that began later than this call need not read again.
            if self._read_at is None or self._read_at < asked_at:
                began_at = time.monotonic()
                await self._read(fetch)
                self._read_at = began_at
        return list(self._by_node.get(node, {}).values())

    async def _read(self, fetch: Fetch) -> None:
        now = time.time()
        until = now - HORIZON_SECONDS if self._newest is None else self._newest - OVERLAP_SECONDS
        if not self._stretches or self._stretches[-1].after is not None:
            self._stretches.append(_Stretch(after=None, until=until))
        while self._stretches:
            stretch = self._stretches[-1]
            size = FIRST_PAGE if stretch.after is None else NEXT_PAGE
            page = await fetch(size, stretch.after)
            if self._record(page, stretch):
                self._stretches.pop()
        self._forget_before(now - HORIZON_SECONDS)

    def _record(self, page: Page, stretch: _Stretch) -> bool:
        """Keep what is on a page; returns whether the stretch ends with it."""
        for batch in page.batches:
            if batch.key is not None:
                self._by_node.setdefault(batch.key.node, {})[batch.id] = batch
        times = [batch.times["created_at"] for batch in page.batches if "created_at" in batch.times]
        if times:
            self._newest = max([*times, self._newest or 0.0])
        oldest_id = page.batches[-1].id if page.batches else None
        # Some servers do not know `after`, and would give the same page for ever.
        stuck = oldest_id in (None, stretch.after)
        stretch.after = oldest_id or stretch.after
        return stuck or not page.has_more or min(times, default=stretch.until) < stretch.until

    def _forget_before(self, horizon: float) -> None:
        for node, batches in list(self._by_node.items()):
            kept = {id_: batch for id_, batch in batches.items() if batch.times.get("created_at", horizon) >= horizon}
            if kept:
                self._by_node[node] = kept
            else:
                del self._by_node[node]
