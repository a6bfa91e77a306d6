"""The emulator as a whole: a real HTTP server on a real port, in a thread of the process that asked for it."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.request import getproxies

import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from .app import build_app
from .control import control_routes
from .faults import Fault
from .gateway import Call, Gateway
from .quick_server import QuickServer
from .responder import Responder, echo
from .rows import RowBook
from .service import OpenAIService
from .settings import Settings

__all__ = ["Emulator"]

_STOP_TIMEOUT = 10.0


class Emulator:
    """A stand-in for OpenAI's Files and Batches API, and for its models. Use it as a context manager.

    Any client that is told `base_url` (the SDKs read it from `OPENAI_BASE_URL`) talks to it instead of OpenAI. It is
    strict: a route that the API does not have is answered 404, and leaving the context then raises.

    Examples:
        >>> import openai
        >>> with Emulator() as emulator:
        ...     client = openai.OpenAI(base_url=emulator.base_url, api_key="any")
        ...     client.batches.list().data
        []

    Args:
        responder: What the models answer, in batches and by themselves; by default they tell the prompt back.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        control: Serve the control routes, so that another process can order faults and move the clock.
        strict: Raise on leaving the context when a call met no route.
        on_call: Called with each call once it is answered.
        settings: Fields of `Settings`.
    """

    def __init__(
        self,
        *,
        responder: Responder = echo,
        host: str = "127.0.0.1",
        port: int = 0,
        control: bool = False,
        strict: bool = True,
        on_call: Callable[[Call], None] | None = None,
        **settings: Any,
    ) -> None:
        given = Settings(**settings)
        self._rows = RowBook()
        self._directory = tempfile.TemporaryDirectory(prefix="openai-emulator-")
        self._service = OpenAIService(
            Path(self._directory.name), settings=given, responder=self._rows.shown_to(responder)
        )
        app = build_app(self._service, control_routes(self) if control else [])
        self._gateway = Gateway(app, self._service, self._close_connection, on_call=on_call, control=control)
        self._address = (host, port)
        self._strict = strict
        self._listener: socket.socket | None = None
        self._server: QuickServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """What `OPENAI_BASE_URL` must be for a client to come here."""
        host, port = self._address
        return f"http://{host}:{port}/v1"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that send a process's OpenAI client here, and past any proxy."""
        environment = {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": "sk-emulator"}
        if getproxies():
            direct = ",".join(
                filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), self._address[0]])
            )
            environment |= {"no_proxy": direct, "NO_PROXY": direct}
        return environment

    @property
    def calls(self) -> list[Call]:
        """Every call so far, in the order they came in."""
        return self._gateway.calls

    @property
    def settings(self) -> Settings:
        """The current settings."""
        return self._service.settings

    def change(self, **settings: Any) -> None:
        """Change some of the settings; batches that are under way keep theirs."""
        self._service.change(**settings)

    def respond(self, responder: Responder) -> None:
        """Have the models answer what `responder` says, from now on: a text, or a whole `Reply`, to a `Request`."""
        self._service.respond(self._rows.shown_to(responder))

    def add_row(self, request: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        """Note the row of a table that a request, a line of a batch's input, was made of: see `Request.row`."""
        self._rows.add(request, row)

    def order(self, *faults: Fault) -> None:
        """Order a fault, from now on; several faults apply one after the other."""
        for fault in faults:
            self._service.order(fault)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._service.clear_faults()

    def reset(self) -> None:
        """Restore the initial state: no files, batches, faults or calls, and the initial settings and time."""
        self._service.reset()
        self._rows.clear()
        self.calls.clear()

    def now(self) -> float:
        """Unix time as the emulator sees it."""
        return self._service.clock.now()

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds`."""
        self._service.clock.advance(seconds)

    def freeze(self) -> None:
        """Stop the clock; from now on only `advance` moves it."""
        self._service.clock.freeze()

    def thaw(self) -> None:
        """Let real time pass again."""
        self._service.clock.thaw()

    def start(self) -> None:
        """Listen. A call made from here on is answered, at worst once the thread is up.

        Raises:
            OSError: The port is taken.
        """
        # Named as TCP, because asyncio turns Nagle's algorithm off (40 ms a call) only for sockets that say so.
        self._listener = listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(self._address)
        except OSError:
            self.stop()
            raise
        listener.listen()
        self._address = (self._address[0], listener.getsockname()[1])
        config = uvicorn.Config(
            self._gateway,
            http=H11Protocol,
            ws="none",
            lifespan="off",
            # The gateway says the emulator's time.
            date_header=False,
            log_config=None,
            log_level="critical",
            access_log=False,
        )
        self._server = QuickServer(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="openai-emulator", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and forget everything."""
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join(_STOP_TIMEOUT)
        if self._listener is not None:
            # A server that was stopped before it was up has not done so.
            self._listener.close()
        self._directory.cleanup()

    def wait(self) -> None:
        """Serve until interrupted."""
        if self._server is not None:
            # Not by joining the thread: one whose `join` was interrupted counts as ended while it still runs.
            self._server.ended.wait()

    def check(self) -> None:
        """Report calls to routes that the API does not have.

        Raises:
            AssertionError: There were some.
        """
        # HTTP/2 begins with PRI. No client of OpenAI's speaks it: one of gRPC did, whose server had this port before.
        unknown = [f"{call.method} {call.path}" for call in self.calls if not call.known and call.method != "PRI"]
        if unknown:
            raise AssertionError(f"the emulator does not support: {', '.join(unknown)}")

    def __enter__(self) -> Emulator:
        """Start to listen."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; if strict, report unknown routes."""
        self.stop()
        if self._strict and error is None:
            self.check()

    def _close_connection(self, scope: Scope) -> None:
        if self._server is None:
            return
        for protocol in list(self._server.server_state.connections):
            if isinstance(protocol, H11Protocol) and protocol.client == tuple(scope["client"] or ()):
                protocol.transport.close()
