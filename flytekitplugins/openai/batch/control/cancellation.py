"""Cancels batches in the background after Flyte has its reply, and retries what fails."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

from flytekitplugins.openai.exceptions import UnavailableError

from .failure_log import record_failure
from .policy.unreachable import GRACE_SECONDS
from .state.poll_state import MAX_TASKS
from .state.snapshot import WINDOW_SECONDS
from .state.task_spec import TaskSpec

__all__ = ["BackgroundCancellations"]

# Waits between attempts; the last one repeats.
WAITS_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
# As many tasks as a process knows. Each takes some kilobytes, and anyone who reaches the port can ask for them.
MAX_CANCELLATIONS = MAX_TASKS


class BackgroundCancellations:
    """The cancellations that this process still has to do. A process that ends forgets them."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, task: TaskSpec, cancel: Callable[[], Awaitable[object]]) -> None:
        """Call `cancel` until it succeeds, for as long as a batch can live.

        Args:
            task: The task. One cancellation at a time runs for it.
            cancel: Cancels the task's batches, or raises.
        """
        name = task.unique_name
        if name in self._tasks:
            return
        if len(self._tasks) >= MAX_CANCELLATIONS:
            error = UnavailableError(f"{MAX_CANCELLATIONS:,} cancellations are waiting already.")
            record_failure("cancel_failures", error, task=task, last=True)
        else:
            self._tasks[name] = asyncio.get_running_loop().create_task(self._retry(task, cancel))

    async def _retry(self, task: TaskSpec, cancel: Callable[[], Awaitable[object]]) -> None:
        left = WINDOW_SECONDS + GRACE_SECONDS
        try:
            for wait in itertools.chain(WAITS_SECONDS, itertools.repeat(WAITS_SECONDS[-1])):
                await asyncio.sleep(wait)
                left -= wait
                try:
                    await cancel()
                except Exception as error:  # noqa: BLE001 (whatever it is, the batch still costs money)
                    record_failure("cancel_failures", error, task=task, first=False, last=left <= 0)
                else:
                    return
                if left <= 0:
                    return
        finally:
            del self._tasks[task.unique_name]
