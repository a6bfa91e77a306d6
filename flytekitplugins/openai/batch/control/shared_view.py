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
from .policy.poll_source import is_behind, is_page_cheaper, needs_no_look_up
from .state.batch_list import BatchList, Fetch
from .state.snapshot import BatchSnapshot

__all__ = ["SharedView"]

# The most that OpenAI puts on a page.
PAGE = 100
# No answer is older than this.
FRESH_SECONDS = 10.0
# How long a poll waits for a page: a look-up has to fit into what is left of its call.
WAIT_SECONDS = 3.0
# How often each batch, and any batch of an account, is looked up even so: a list that is behind would show them as
# running for ever.
LOOK_UP_SECONDS, SAMPLE_SECONDS = 3600.0, 60.0
# How long there are only look-ups after the list could not be read, and after it was behind.
FAILED_SECONDS, BEHIND_SECONDS = 60.0, 600.0
# As Flyte polls by default.
USUAL_INTERVAL = 30.0
# If more batches than this are polled whose places on the list are not known, it is read, at most this often: after a
# restart nothing else may ask for it.
MAX_UNPLACED, PLACED_SECONDS = 10, 600.0
# What polls a batch less often than this gains nothing from a page that others share. It is also how often the list is
# divided into pages anew.
FORGOTTEN_SECONDS = 300.0


@dataclass
class _PageRead:
    """A page of the list, while it is read and afterwards.

    Attributes:
        sent_at: When it was asked for; what it shows is not older.
        reading: Ends with its batches that are polled, by id; with none if it could not be read.
    """

    sent_at: float
    reading: asyncio.Task[Mapping[str, Mapping[str, Any]]]

    def is_fresh(self, now: float) -> bool:
        """Whether it may answer; no longer, if the clock was put back."""
        return 0 <= now - self.sent_at <= FRESH_SECONDS


@dataclass
class _Polled:
    """A batch that is polled.

    Attributes:
        at: When it was polled last.
        interval: The time between its last two polls.
        looked_up_at: When it was looked up last; `None` if it never was.
        page: The last page that was to show it.
    """

    at: float
    interval: float = USUAL_INTERVAL
    looked_up_at: float | None = None
    page: _PageRead | None = None

    def is_fresh(self, now: float) -> bool:
        """Whether a page of it may still answer, or is on its way."""
        return self.page is not None and self.page.is_fresh(now)


class SharedView:
    """An account's batches that are polled. Times are Unix seconds.

    Args:
        batch_list: The account's list. Pages are chosen by its order, which learns from them.
    """

    def __init__(self, batch_list: BatchList) -> None:
        self._list, self._order = batch_list, batch_list.order
        self._polled: dict[str, _Polled] = {}
        self._starts: set[str] = set()
        self._unplaced: set[str] = set()
        self._placed_at = 0.0
        self._placing: asyncio.Task[None] | None = None
        self._pruned_at = self._sampled_at = self._trusted_from = time.time()
        self._is_failing = False

    async def find(self, batch_id: str, seen: BatchSnapshot | None, fetch: Fetch) -> BatchSnapshot | None:
        """A batch as it was in the last 10 seconds; `None` if it has to be looked up.

        Args:
            batch_id: The batch.
            seen: The batch as this process saw it last.
            fetch: Asks OpenAI for a page.
        """
        now = time.time()
        polled = self._note_poll(batch_id, now)
        if batch_id not in self._order:
            self._note_unplaced(batch_id, fetch, now)
            return None
        if seen is None or now < self._trusted_from or self._is_look_up_due(polled, now):
            return None
        if not polled.is_fresh(now):
            polled.page = None
            self._read_page_with(batch_id, fetch, now)
        page = polled.page
        if page is None:
            return None
        if not page.reading.done():
            await asyncio.wait([page.reading], timeout=WAIT_SECONDS)
        if not page.reading.done() or not page.is_fresh(time.time()):
            return None
        return self._usable(page.reading.result().get(batch_id), seen, polled, page)

    def note_look_up(self, batch_id: str) -> None:
        """Note that a batch was looked up just now."""
        if batch_id in self._polled:
            self._polled[batch_id].looked_up_at = time.time()

    def _note_poll(self, batch_id: str, now: float) -> _Polled:
        polled = self._polled.get(batch_id)
        if polled is None:
            polled = self._polled[batch_id] = _Polled(now)
        else:
            polled.interval, polled.at = now - polled.at, now
        if now - self._pruned_at >= FORGOTTEN_SECONDS:
            self._pruned_at = now
            self._polled = {id_: one for id_, one in self._polled.items() if now - one.at < FORGOTTEN_SECONDS}
            self._divide()
        return polled

    def _divide(self) -> None:
        """Divide the list into pages, beginning at the newest batch that is polled.

        They do not overlap: what two of them show would be read twice.
        """
        listed = dropwhile(lambda id_: id_ not in self._polled, self._order)
        self._starts = set(islice(listed, 0, None, PAGE))

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

    def _is_look_up_due(self, polled: _Polled, now: float) -> bool:
        if polled.looked_up_at is None or now - polled.looked_up_at >= LOOK_UP_SECONDS:
            return True
        if now - self._sampled_at < SAMPLE_SECONDS:
            return False
        self._sampled_at = now
        return True

    def _read_page_with(self, batch_id: str, fetch: Fetch, now: float) -> None:
        """Start to read a page with this batch, if that is worth it."""
        for first in self._starts_of_pages(batch_id, now):
            window = [first, *islice(self._order.older(first), PAGE - 1)]
            if is_page_cheaper(1 + sum(self._is_awaited(id_, now) for id_ in window if id_ != batch_id)):
                break
        else:
            return
        shown = [id_ for id_ in window if id_ in self._polled]
        after = next(self._order.newer(first), None)
        reading = asyncio.get_running_loop().create_task(self._read(fetch, after, shown))
        page = _PageRead(now, reading)
        for id_ in shown:
            self._polled[id_].page = page

    def _starts_of_pages(self, batch_id: str, now: float) -> Iterator[str]:
        """The batches at which a page with this one may begin, the better one first.

        It is the start of the batch's own page. Where few are polled, a page that begins at the newest one that is
        awaited may answer more polls.
        """
        newer = [batch_id, *islice(self._order.newer(batch_id), PAGE - 1)]
        if len(newer) == PAGE and self._starts.isdisjoint(newer):
            self._divide()
        # The newest batches have come since the list was divided, and are before its first page.
        yield next((id_ for id_ in newer if id_ in self._starts), newer[-1])
        yield [id_ for id_ in newer if id_ == batch_id or self._is_awaited(id_, now)][-1]

    def _is_awaited(self, batch_id: str, now: float) -> bool:
        """Whether a poll of a batch is expected while a page that is read now is fresh, and no other page has it."""
        polled = self._polled.get(batch_id)
        return polled is not None and not polled.is_fresh(now) and polled.at + polled.interval <= now + FRESH_SECONDS

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
        self, entry: Mapping[str, Any] | None, seen: BatchSnapshot, polled: _Polled, page: _PageRead
    ) -> BatchSnapshot | None:
        if entry is None:
            return None
        listed = BatchSnapshot.from_dict(entry)
        if not is_behind(listed, seen):
            return listed if needs_no_look_up(listed) else None
        if polled.looked_up_at is not None and polled.looked_up_at < page.sent_at:
            self._distrust(_behind(f"it shows batch {listed.id!r} as it was before"), seconds=BEHIND_SECONDS)
        return None

    def _distrust(self, error: Exception, *, seconds: float) -> None:
        self._trusted_from = time.time() + seconds
        record_failure("list_failures", error, task=Named("the list of batches"), first=not self._is_failing)
        self._is_failing = True


def _behind(how: str) -> UnavailableError:
    return UnavailableError(f"The list of batches is behind: {how}; each batch is looked up.", reason="stale")
