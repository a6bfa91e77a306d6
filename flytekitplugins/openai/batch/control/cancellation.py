"""Cancels batches in the background after Flyte has its reply, and retries what fails."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from .batch_outcome import WINDOW_SECONDS
from .poll_errors import report
from .retry_policy import GRACE_SECONDS

__all__ = ["Cancellations"]

# From one try to the next; the last again and again.
WAITS_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Cancellations:
    """Those that are still to be done by this process. A process that ends forgets them."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def go_on(self, name: str, cancel: Callable[[], Awaitable[object]]) -> None:
        """Call `cancel` until it succeeds, for as long as a batch can live.

        Args:
            name: Of the task whose batches are cancelled; nothing is done twice for one.
            cancel: Cancels them, or raises.
        """
        if name not in self._tasks:
            self._tasks[name] = asyncio.get_running_loop().create_task(self._until_done(name, cancel))

    async def _until_done(self, name: str, cancel: Callable[[], Awaitable[object]]) -> None:
        left = WINDOW_SECONDS + GRACE_SECONDS
        try:
            for wait in itertools.chain(WAITS_SECONDS, itertools.repeat(WAITS_SECONDS[-1])):
                await asyncio.sleep(wait)
                left -= wait
                try:
                    await cancel()
                except Exception as error:  # noqa: BLE001 (whatever it is, the batch still costs money)
                    report("cancel_failures", error, name=name, first=False, last=left <= 0)
                else:
                    return
                if left <= 0:
                    return
        finally:
            del self._tasks[name]
