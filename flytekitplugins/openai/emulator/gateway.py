"""The ASGI layer before the API: it records calls and applies ordered faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import error_body
from .faults import CallFault
from .service import OpenAIService

__all__ = ["Call", "Gateway"]

# A scope's connection, closed at once as if the network had failed.
Abort = Callable[[Scope], None]


@dataclass
class Call:
    """One HTTP request as the emulator saw it.

    Attributes:
        query: The parameters of the query string.
        headers: By name in lower case, without the key; see `key`.
        key: The API key it came with.
        connection: Which TCP connection it came over.
        status: The status of the response; `None` when the connection was dropped instead.
        known: Whether the API has such a route.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    connection: str
    key: str = field(repr=False)
    status: int | None = None
    known: bool = True

    def to_dict(self) -> dict[str, Any]:
        """The call without its key, to be sent to another process."""
        return {name: value for name, value in asdict(self).items() if name != "key"}


class Gateway:
    """An ASGI application around the API's.

    Args:
        app: The API's.
        service: Knows which faults are ordered.
        abort: Closes a connection.
        on_call: Called with each call once it is answered.
        control: Whether `app` has control routes, which are no calls of the API's.
    """

    def __init__(
        self,
        app: ASGIApp,
        service: OpenAIService,
        abort: Abort,
        *,
        on_call: Callable[[Call], None] | None,
        control: bool,
    ) -> None:
        self._app = app
        self._service = service
        self._abort = abort
        self._on_call = on_call
        self._control = control
        self._requests = 0
        self.calls: list[Call] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._control and scope["path"].startswith("/control/"):
            await self._app(scope, receive, send)
            return
        call = _describe(scope)
        self.calls.append(call)
        fault = self._service.take_call_fault(call.method, call.path)
        try:
            if fault is None:
                await self._app(scope, receive, self._watched(send, call))
            else:
                await self._strike(fault, call, scope, receive, send)
        finally:
            if self._on_call is not None:
                self._on_call(call)

    def _watched(self, send: Send, call: Call) -> Send:
        """`send`, noting what is answered, and adding the request id and date that every answer of OpenAI's has."""
        self._requests += 1
        request_id = f"req_{self._requests:024x}".encode()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                names = [name for name, _ in message["headers"]]
                call.known = b"x-emulator-unknown-route" not in names
                added = [(b"x-request-id", request_id)]
                if b"date" not in names:
                    added.append((b"date", formatdate(self._service.clock.now(), usegmt=True).encode()))
                message["headers"] = [*message["headers"], *added]
            await send(message)

        return watched

    async def _strike(self, fault: CallFault, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        watched = self._watched(send, call)
        replaced = fault.status is not None or fault.body is not None
        lost = fault.drop or (fault.after_work and not replaced and fault.truncate is None)
        if fault.after_work and (lost or replaced):
            await self._app(scope, receive, _nowhere)
        elif fault.delay:
            receive = await _received(receive)
        await asyncio.sleep(fault.delay)
        if (lost or replaced) and not fault.after_work:
            # To its end, so that a client is not cut off while it still sends.
            await _drain(receive)
        if lost:
            await self._hang_up(scope, receive)
        elif replaced:
            await _answer(fault, watched)
        elif fault.truncate is not None:
            await self._truncated(fault.truncate, fault.hide_length, scope, receive, watched)
        else:
            await self._app(scope, receive, watched)

    async def _truncated(self, left: int, hide_length: bool, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, but only the first `left` bytes of the answer's body."""

        async def cut(message: Message) -> None:
            nonlocal left
            if message["type"] == "http.response.start":
                if hide_length:
                    message["headers"] = [(n, v) for n, v in message["headers"] if n.lower() != b"content-length"]
                await send(message)
            else:
                body = message.get("body", b"")[:left]
                left -= len(body)
                await send({**message, "body": body, "more_body": True})

        await self._app(scope, receive, cut)
        if hide_length:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self._hang_up(scope, receive)

    async def _hang_up(self, scope: Scope, receive: Receive) -> None:
        self._abort(scope)
        while (await receive())["type"] != "http.disconnect":
            pass


def _describe(scope: Scope) -> Call:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    bearer, azure_key = (headers.pop(name, "") for name in ("authorization", "api-key"))
    host, port = scope["client"] or ("", 0)
    return Call(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers=headers,
        connection=f"{host}:{port}",
        key=bearer.partition(" ")[2] or azure_key,
    )


async def _received(receive: Receive) -> Receive:
    """Buffer a whole request: a slow server does its work even after its client has disconnected."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return again


async def _drain(receive: Receive) -> None:
    more = True
    while more:
        more = (await receive()).get("more_body", False)


async def _nowhere(_message: Message) -> None:
    """Discards a reply."""


async def _answer(fault: CallFault, send: Send) -> None:
    status = fault.status or 200
    text = fault.body if fault.body is not None else json.dumps(error_body(status, fault.message, code=fault.code))
    headers = {"content-type": "application/json", "content-length": str(len(text.encode()))}
    headers |= {name.lower(): value for name, value in fault.headers.items()}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": text.encode()})
