"""Answers the polls of many batches with the same few pages of OpenAI's list, where that costs less than look-ups."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import dropwhile, islice
from typing import Any

from flytekitplugins.openai.exceptions import UnavailableError

from .failure_log import Named, record_failure
from .policy.batch_phase import FAILED, SUCCEEDED
from .policy.poll_source import is_behind, is_page_cheaper, needs_no_look_up
from .state.batch_list import BatchList, Fetch
from .state.polled_batches import PageRead, PolledBatch, PolledBatches, is_fresh
from .state.snapshot import BatchSnapshot

__all__ = ["Listed", "SharedView"]

ENDED = frozenset({*SUCCEEDED, *FAILED})
# The most that OpenAI puts on a page.
PAGE = 100
# How long a poll waits for a page: a look-up has to fit into what is left of its call.
WAIT_SECONDS = 3.0
# How often each batch, and any batch of an account, is looked up even so: a list that is behind would show them as
# running for ever.
LOOK_UP_SECONDS, SAMPLE_SECONDS = 3600.0, 60.0
# How long there are only look-ups after the list could not be read, and after it was behind.
FAILED_SECONDS, BEHIND_SECONDS = 60.0, 600.0
# If more batches than this are polled whose places on the list are not known, it is read, at most this often: after a
# restart nothing else may ask for it.
MAX_UNPLACED, PLACED_SECONDS = 10, 600.0
# How often the list is divided into pages anew.
DIVIDED_SECONDS = 300.0


@dataclass(frozen=True)
class Listed:
    """A batch as a page of the list showed it.

    Attributes:
        batch: The batch.
        as_of: When the page was asked for, in Unix seconds.
    """

    batch: BatchSnapshot
    as_of: float

    @property
    def is_fresh(self) -> bool:
        """Whether it may still be answered with."""
        return is_fresh(self.as_of, time.time())


class SharedView:
    """An account's batches that are polled. Times are Unix seconds.

    Args:
        batch_list: The account's list. Pages are chosen by its order, which learns from them.
    """

    def __init__(self, batch_list: BatchList) -> None:
        self._list, self._order = batch_list, batch_list.order
        self._polled = PolledBatches()
        self._page_starts: set[str] = set()
        self._unplaced: set[str] = set()
        self._placed_at = 0.0
        self._placing: asyncio.Task[None] | None = None
        self._divided_at = self._sampled_at = self._trusted_from = time.time()
        self._is_failing = False

    async def find(self, batch_id: str, seen: BatchSnapshot | None, fetch: Fetch) -> Listed | None:
        """A batch as it was less than 10 seconds ago; `None` if it has to be looked up.

        Args:
            batch_id: The batch.
            seen: The batch as this process saw it last.
            fetch: Asks OpenAI for a page.
        """
        now = time.time()
        polled = self._polled.note_poll(batch_id, now)
        if now - self._divided_at >= DIVIDED_SECONDS:
            self._divided_at = now
            self._polled.forget_old(now)
            self._divide()
        if batch_id not in self._order:
            self._note_unplaced(batch_id, fetch, now)
            return None
        if seen is None or now < self._trusted_from or self._is_look_up_due(polled, now):
            return None
        if not polled.has_fresh_page(now):
            polled.page = None
            self._read_page_with(batch_id, fetch, now)
        page = polled.page
        if page is None:
            return None
        if not page.reading.done():
            await asyncio.wait([page.reading], timeout=WAIT_SECONDS)
        if not page.reading.done() or not is_fresh(page.sent_at, time.time()):
            return None
        return self._usable(page.reading.result().get(batch_id), seen, polled, page)

    def note_look_up(self, batch: BatchSnapshot) -> None:
        """Note a batch that was looked up just now."""
        if batch.status in ENDED:
            self._polled.forget(batch.id)
        elif polled := self._polled.get(batch.id):
            polled.looked_up_at = time.time()

    def _divide(self) -> None:
        """Divide the list into pages, beginning at the newest batch that is polled.

        They do not overlap: what two of them show would be read twice.
        """
        listed = dropwhile(lambda id_: id_ not in self._polled, self._order)
        self._page_starts = set(islice(listed, 0, None, PAGE))

    def _note_unplaced(self, batch_id: str, fetch: Fetch, now: float) -> None:
        """Have the list read, if there are many batches whose places on it are not known."""
        self._unplaced.add(batch_id)
        if len(self._unplaced) <= MAX_UNPLACED or now - self._placed_at < PLACED_SECONDS:
            return
        self._unplaced = {id_ for id_ in self._unplaced if id_ in self._polled and id_ not in self._order}
        if len(self._unplaced) > MAX_UNPLACED:
            self._placed_at = now
            self._placing = asyncio.get_running_loop().create_task(self._list.refresh(fetch))
            # The polls of these batches need it, and fail without; this only saves calls.
            self._placing.add_done_callback(lambda placing: placing.cancelled() or placing.exception())

    def _is_look_up_due(self, polled: PolledBatch, now: float) -> bool:
        if polled.looked_up_at is None or now - polled.looked_up_at >= LOOK_UP_SECONDS:
            return True
        if now - self._sampled_at < SAMPLE_SECONDS:
            return False
        self._sampled_at = now
        return True

    def _read_page_with(self, batch_id: str, fetch: Fetch, now: float) -> None:
        """Start to read a page with this batch, if that is worth it."""
        for first in self._possible_starts(batch_id, now):
            window = [first, *islice(self._order.older(first), PAGE - 1)]
            if is_page_cheaper(1 + sum(self._polled.is_awaited(id_, now) for id_ in window if id_ != batch_id)):
                break
        else:
            return
        shown = {id_: polled for id_ in window if (polled := self._polled.get(id_))}
        after = next(self._order.newer(first), None)
        reading = asyncio.get_running_loop().create_task(self._read(fetch, after, [*shown]))
        page = PageRead(now, reading)
        for polled in shown.values():
            polled.page = page

    def _possible_starts(self, batch_id: str, now: float) -> Iterator[str]:
        """The batches at which a page with this one may begin, the better one first.

        It is the start of the batch's own page. Where few are polled, a page that begins at the newest one that is
        awaited may answer more polls.
        """
        newer = [batch_id, *islice(self._order.newer(batch_id), PAGE - 1)]
        if len(newer) == PAGE and self._page_starts.isdisjoint(newer):
            self._divide()
        # The newest batches have come since the list was divided, and are before its first page.
        yield next((id_ for id_ in newer if id_ in self._page_starts), newer[-1])
        yield [id_ for id_ in newer if id_ == batch_id or self._polled.is_awaited(id_, now)][-1]

    async def _read(self, fetch: Fetch, after: str | None, shown: list[str]) -> Mapping[str, Mapping[str, Any]]:
        try:
            page = await fetch(PAGE, after)
        except Exception as error:  # noqa: BLE001 (each poll looks up its batch)
            self._distrust(error, seconds=FAILED_SECONDS)
            return {}
        found = {id_: page.entries[id_] for id_ in shown if id_ in page.entries}
        if any(id_ not in self._order for id_ in page.entries):
            self._order.record(page.batches, after=after, now=time.time())
        # New batches move others off the first page, and off no other.
        if after is not None and 2 * len(found) < len(shown):
            missing = next(id_ for id_ in shown if id_ not in found)
            self._distrust(_behind(f"it lacks batch {missing!r}"), seconds=BEHIND_SECONDS)
        else:
            self._is_failing = False
        return found

    def _usable(
        self, entry: Mapping[str, Any] | None, seen: BatchSnapshot, polled: PolledBatch, page: PageRead
    ) -> Listed | None:
        if entry is None:
            return None
        listed = BatchSnapshot.from_dict(entry)
        if not is_behind(listed, seen):
            return Listed(listed, page.sent_at) if needs_no_look_up(listed) else None
        if polled.looked_up_at is not None and polled.looked_up_at < page.sent_at:
            self._distrust(_behind(f"it shows batch {listed.id!r} as it was before"), seconds=BEHIND_SECONDS)
        return None

    def _distrust(self, error: Exception, *, seconds: float) -> None:
        self._trusted_from = time.time() + seconds
        record_failure("list_failures", error, task=Named("the list of batches"), first=not self._is_failing)
        self._is_failing = True


def _behind(how: str) -> UnavailableError:
    return UnavailableError(f"The list of batches is behind: {how}; each batch is looked up.", reason="stale")
