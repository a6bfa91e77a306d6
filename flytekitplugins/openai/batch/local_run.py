"""Polls and cancels a batch in a local run, where no Flyte does it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import Resource
from flytekit.extend.backend.utils import is_terminal_phase
from rich.console import Console
from rich.status import Status

from flytekitplugins.openai._client import close_clients
from flytekitplugins.openai._flyte import beside_running_loop
from flytekitplugins.openai.exceptions import PassingError

from .connector import BatchEndpointConnector, BatchEndpointMetadata
from .container.progress import stderr_console

__all__ = ["LocalRunMixin"]

POLL_SECONDS = 1.0
# In a log there is a line for each new state, and in between fewer and fewer.
LONGEST_SILENCE_SECONDS = 600.0
# A person who pressed Ctrl-C is waiting.
CANCEL_ATTEMPTS = 3
SHOWN_IDS = 5


async def watch(name: str, connector: BatchEndpointConnector, resource_meta: BatchEndpointMetadata) -> Resource:
    """Poll a batch until it ends, with a progress line; returns the last answer.

    flytekit's own loop is not used because it blocks the event loop, shows nothing where there is no terminal, and
    before 1.16.25 does not end on RETRYABLE_FAILED.
    """
    try:
        with ProgressLine(name, stderr_console()) as line:
            while True:
                resource = await connector.get(resource_meta)
                line.show(resource, now=time.monotonic())
                if is_terminal_phase(resource.phase) or resource.phase == TaskExecution.RETRYABLE_FAILED:
                    return resource
                await asyncio.sleep(POLL_SECONDS)
    finally:
        await close_clients()


class LocalRunMixin:
    """A batch task's part of a local run: it is polled with a progress line, and cancelled by an interrupt."""

    name: str
    _connector: BatchEndpointConnector

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended: set[str] = set()

    def execute(self, **kwargs: Any) -> Any:
        """What flytekit does in a local run, also in a notebook, where an interrupt comes as an exception."""
        self._local_run = LocalRun()
        execute = super().execute  # type: ignore[misc]  # flytekit's mixin comes after this one
        return beside_running_loop(functools.partial(execute, **kwargs), interrupted=self._interrupted)

    def _interrupted(self, result: Future[Any]) -> None:
        self._local_run.stop()
        # Wait for a batch that is being created: it takes seconds, and nothing else would cancel it.
        wait([result])
        if self._local_run.resource_meta is not None:
            self.connector_signal_handler(self._local_run.resource_meta, signal.SIGINT, None)

    async def _get(self, resource_meta: Any) -> Resource:
        resource = await self._local_run.watch(self.name, self._connector, resource_meta)
        self._ended.add(resource_meta.unique_name)
        return resource

    def connector_signal_handler(self, resource_meta: Any, signum: int, frame: Any) -> None:  # noqa: ARG002
        """Cancel the batch when the run is interrupted; flytekit asks this of every batch the run ever made."""
        if resource_meta.unique_name not in self._ended:
            cancel(self.name, self._connector, resource_meta)
            self._ended.add(resource_meta.unique_name)
            # flytekit exits after this, which a notebook's kernel does not do at once.
            self._local_run.stop()


class LocalRun:
    """A run of a batch task that another thread may stop."""

    def __init__(self) -> None:
        self.resource_meta: BatchEndpointMetadata | None = None
        self._watching: asyncio.Task[Any] | None = None
        self._thread = 0
        self._is_stopped = False

    async def watch(
        self, name: str, connector: BatchEndpointConnector, resource_meta: BatchEndpointMetadata
    ) -> Resource:
        """As the function of this name, until it is stopped."""
        self._thread = threading.get_ident()
        self.resource_meta, self._watching = resource_meta, asyncio.current_task()
        if self._is_stopped:
            raise asyncio.CancelledError
        return await watch(name, connector, resource_meta)

    def stop(self) -> None:
        """Stop polling, if another thread polls; a batch that is just being created is not polled at all."""
        self._is_stopped = True
        if self._watching is not None and self._thread != threading.get_ident():
            self._watching.get_loop().call_soon_threadsafe(self._watching.cancel)


def cancel(name: str, connector: BatchEndpointConnector, resource_meta: BatchEndpointMetadata) -> None:
    """Cancel a task's batch from within a signal handler, and say so."""

    async def stop() -> list[str]:
        try:
            for _ in range(CANCEL_ATTEMPTS - 1):
                with contextlib.suppress(PassingError):
                    return await connector.cancel(resource_meta)
                await asyncio.sleep(POLL_SECONDS)
            return await connector.cancel(resource_meta)
        finally:
            await close_clients()

    # The main thread's event loop is running, and a second cannot run in the same thread. The context goes along
    # because flytekit keeps in it that this is a local run.
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(contextvars.copy_context().run, asyncio.run, stop())
    if error := done.exception():
        batch = f"batch {resource_meta.batch_id!r}" if resource_meta.batch_id else "a batch that was submitted"
        said = f"interrupted, but {batch} keeps running: {error}"
    elif stopped := done.result():
        said = f"interrupted; {_named(stopped)} being cancelled."
    else:
        said = "interrupted; no batch was running."
    _tell(f"{name}: {said}")


def _tell(line: str) -> None:
    """Write a line to standard error, though an interrupt may have come in the middle of another.

    Python raises an error when a signal handler writes to a stream that is being written to, so this writes to its file
    descriptor. A stream that somebody has put in its place, such as a notebook's, is written to as usual.
    """
    own = sys.__stderr__
    if own is not None and sys.stderr is own:
        os.write(own.fileno(), f"{line}\n".encode(errors="replace"))
    else:
        stderr_console().print(line, markup=False)


def _named(batch_ids: list[str]) -> str:
    if len(batch_ids) == 1:
        return f"batch {batch_ids[0]!r} is"
    more = f" and {len(batch_ids) - SHOWN_IDS:,} more" if len(batch_ids) > SHOWN_IDS else ""
    return f"batches {', '.join(map(repr, batch_ids[:SHOWN_IDS]))}{more} are"


class ProgressLine:
    """One line about a batch: redrawn in a terminal, printed now and then elsewhere."""

    def __init__(self, name: str, console: Console) -> None:
        self._name = name
        self._console = console
        self._status: Status | None = None
        self._state = ""
        self._message = ""
        self._printed_at = 0.0
        self._silence = 1.0
        self._linked = False

    def show(self, resource: Resource, *, now: float) -> None:
        """Show what the last poll answered; `now` is in seconds."""
        message = resource.message or ""
        for link in resource.log_links or [] if not self._linked else []:
            self._console.print(f"{self._name}: {link.name}: {link.uri}", markup=False)
        self._linked = True
        if self._status is not None:
            self._status.update(f"{self._name}: {message}".replace("[", r"\["))
        elif self._is_news(message, now):
            self._console.print(f"{self._name}: {message}", markup=False)

    def _is_news(self, message: str, now: float) -> bool:
        state = message.partition(":")[0]
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

    def __enter__(self) -> ProgressLine:
        if self._console.is_terminal:
            self._status = self._console.status(self._name)
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()
