"""uvicorn's server, made to stop at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["QuickServer"]

_TIDY_TIMEOUT = 0.1


class QuickServer(uvicorn.Server):
    """uvicorn's server, except that it stops at once. The original takes 0.2 s, which every test would wait."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = asyncio.Event()

    def stop(self) -> None:
        """End the server, from any thread."""
        self.should_exit = self.force_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # It has stopped already, and its loop is closed.
                self._loop.call_soon_threadsafe(self._told.set)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does, and note the end."""
        try:
            super().run(sockets)
        finally:
            self.ended.set()

    async def main_loop(self) -> None:
        """Wait to be stopped; uvicorn would look every 0.1 s."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._told.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything at once."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in self.server_state.connections:
            if isinstance(connection, H11Protocol):
                connection.transport.close()
        tasks = set(self.server_state.tasks)
        if tasks:
            # What has answered may still have a file to close; what an ordered delay holds up is not waited for.
            _, tasks = await asyncio.wait(tasks, timeout=_TIDY_TIMEOUT)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
