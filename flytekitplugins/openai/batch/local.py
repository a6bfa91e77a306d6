"""How a batch is watched in a local run, where no Flyte does it."""

from __future__ import annotations

import asyncio
import sys
import time
from types import TracebackType

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, Resource, ResourceMeta
from flytekit.extend.backend.utils import is_terminal_phase, mirror_async_methods
from rich.console import Console
from rich.status import Status

__all__ = ["watch"]

POLL_SECONDS = 1.0
# Where lines stay, there is one for each new state and in between fewer and fewer.
LONGEST_SILENCE_SECONDS = 600.0


async def watch(name: str, connector: AsyncConnectorBase, resource_meta: ResourceMeta) -> Resource:
    """Poll a batch to its end, showing where it is; returns the last answer.

    flytekit's own loop is not used because it blocks the event loop, shows nothing where there is no terminal, and
    before 1.16.25 does not end on RETRYABLE_FAILED.
    """
    with _ProgressLine(name) as line:
        while True:
            resource: Resource = await mirror_async_methods(connector.get, resource_meta=resource_meta)
            line.show(resource)
            if is_terminal_phase(resource.phase) or resource.phase == TaskExecution.RETRYABLE_FAILED:
                return resource
            await asyncio.sleep(POLL_SECONDS)


class _ProgressLine:
    """One line about a batch: redrawn in a terminal, printed now and then elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
        self._status: Status | None = None
        self._state = ""
        self._message = ""
        self._printed_at = 0.0
        self._silence = 1.0
        self._linked = False

    def show(self, resource: Resource) -> None:
        """Show what the last poll answered."""
        message = resource.message or ""
        for link in resource.log_links or [] if not self._linked else []:
            self._console.print(f"{self._name}: {link.name}: {link.uri}", markup=False)
        self._linked = True
        if self._status is not None:
            self._status.update(f"{self._name}: {message}".replace("[", r"\["))
        elif self._is_news(message):
            self._console.print(f"{self._name}: {message}", markup=False)

    def _is_news(self, message: str) -> bool:
        state, now = message.partition(":")[0], time.monotonic()
        if message == self._message:
            return False
        if state != self._state:
            self._state, self._silence = state, 1.0
        elif now < self._printed_at + self._silence:
            return False
        else:
            self._silence = min(self._silence * 2, LONGEST_SILENCE_SECONDS)
        self._printed_at, self._message = now, message
        return True

    def __enter__(self) -> _ProgressLine:
        if self._console.is_terminal:
            self._status = self._console.status(self._name)
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
