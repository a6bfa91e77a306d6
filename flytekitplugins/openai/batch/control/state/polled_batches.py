"""The batches of an account that are polled: how often, and which page of the list was read for each last."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["FRESH_SECONDS", "PageRead", "PolledBatch", "PolledBatches", "is_fresh"]

# No answer is older than ten seconds, half a second of which is for its way to Flyte.
FRESH_SECONDS = 9.5
# As Flyte polls by default.
DEFAULT_INTERVAL = 30.0
# What polls a batch less often than this gains nothing from a page that others share.
FORGOTTEN_SECONDS = 300.0


def is_fresh(as_of: float, now: float) -> bool:
    """Whether what was asked for at `as_of` may answer a poll; no longer, if the clock was put back."""
    return 0 <= now - as_of <= FRESH_SECONDS


@dataclass
class PageRead:
    """A page of the list, while it is read and afterwards.

    Attributes:
        sent_at: When it was asked for; what it shows is not older.
        reading: Ends with its batches that are polled, by id; with none if it could not be read.
    """

    sent_at: float
    reading: asyncio.Task[Mapping[str, Mapping[str, Any]]]


@dataclass
class PolledBatch:
    """A batch that is polled.

    Attributes:
        at: When it was polled last.
        gap: The time between its last two polls.
        interval: How long until the next: the shorter of the last two gaps, because a pause says nothing of the pace.
        looked_up_at: When it was looked up last; `None` if it never was.
        page: The last page that was to show it.
    """

    at: float
    gap: float = DEFAULT_INTERVAL
    interval: float = DEFAULT_INTERVAL
    looked_up_at: float | None = None
    page: PageRead | None = None

    def has_fresh_page(self, now: float) -> bool:
        """Whether a page of it may still answer, or is on its way."""
        return self.page is not None and is_fresh(self.page.sent_at, now)

    def is_awaited(self, now: float) -> bool:
        """Whether a poll is expected while a page that is read now is fresh, and no other page answers it."""
        # One that is long overdue will not come: the task was aborted, or another replica has it now.
        overdue_at = self.at + 2 * max(self.interval, DEFAULT_INTERVAL)
        return self.at + self.interval <= now + FRESH_SECONDS and now < overdue_at and not self.has_fresh_page(now)


class PolledBatches:
    """Those that were polled in the last minutes, by id. Times are Unix seconds."""

    def __init__(self) -> None:
        self._batches: dict[str, PolledBatch] = {}

    def note_poll(self, batch_id: str, now: float) -> PolledBatch:
        """Note that a batch is polled."""
        polled = self._batches.get(batch_id)
        if polled is None:
            polled = self._batches[batch_id] = PolledBatch(now)
        else:
            gap = now - polled.at
            polled.at, polled.gap, polled.interval = now, gap, min(gap, polled.gap)
        return polled

    def forget(self, batch_id: str) -> None:
        """Expect no more polls of a batch."""
        self._batches.pop(batch_id, None)

    def forget_old(self, now: float) -> None:
        """Expect no more polls of what was not polled for long."""
        self._batches = {id_: one for id_, one in self._batches.items() if now - one.at < FORGOTTEN_SECONDS}

    def get(self, batch_id: str) -> PolledBatch | None:
        """A batch; `None` if it is not polled."""
        return self._batches.get(batch_id)

    def is_awaited(self, batch_id: str, now: float) -> bool:
        """As `PolledBatch` has it; not, if the batch is not polled."""
        polled = self._batches.get(batch_id)
        return polled is not None and polled.is_awaited(now)

    def __contains__(self, batch_id: object) -> bool:
        return batch_id in self._batches
