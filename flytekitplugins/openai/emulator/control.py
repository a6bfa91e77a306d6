"""Control from another process: the control routes of an emulator, and a client for them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .faults import BatchFault, CallFault, Fault, RequestFault

if TYPE_CHECKING:
    from .server import Emulator

__all__ = ["EmulatorControl", "control_routes"]

_FAULTS: dict[str, type[CallFault | BatchFault | RequestFault]] = {
    kind.__name__: kind for kind in (CallFault, BatchFault, RequestFault)
}


def control_routes(emulator: Emulator) -> list[Route]:
    """The routes below `/control`, each one method of `emulator`."""

    def change(given: dict[str, Any]) -> None:
        emulator.change(**given)

    def order(given: dict[str, Any]) -> None:
        emulator.order(_FAULTS[given.pop("kind")](**given))

    def clear(_given: dict[str, Any]) -> None:
        emulator.clear_faults()

    def clock(given: dict[str, Any]) -> None:
        if "frozen" in given:
            (emulator.freeze if given["frozen"] else emulator.thaw)()
        emulator.advance(given.get("advance", 0.0))

    def calls(_request: Request) -> Response:
        return JSONResponse([call.to_dict() for call in emulator.calls])

    return [
        Route("/control/settings", _endpoint(change), methods=["POST"]),
        Route("/control/faults", _endpoint(order), methods=["POST"]),
        Route("/control/faults/clear", _endpoint(clear), methods=["POST"]),
        Route("/control/clock", _endpoint(clock), methods=["POST"]),
        Route("/control/calls", calls, methods=["GET"]),
    ]


def _endpoint(do: Callable[[dict[str, Any]], None]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        try:
            await run_in_threadpool(do, dict(await request.json()))
        except (KeyError, TypeError, ValueError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)
        return JSONResponse({})

    return endpoint


class EmulatorControl:
    """An emulator in another process, with the same verbs. It must have been started with its control routes on.

    Args:
        base_url: The emulator's, as clients use it: `http://host:port/v1`.
    """

    def __init__(self, base_url: str) -> None:
        self._root = base_url.rstrip("/").removesuffix("/v1") + "/control"

    def change(self, **settings: Any) -> None:
        """Change some of the settings."""
        self._send("settings", settings)

    def order(self, *faults: Fault) -> None:
        """Order a fault, from now on."""
        for fault in faults:
            self._send("faults", {"kind": type(fault).__name__} | asdict(fault))

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._send("faults/clear", {})

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds`."""
        self._send("clock", {"advance": seconds})

    def freeze(self) -> None:
        """Stop the clock."""
        self._send("clock", {"frozen": True})

    def thaw(self) -> None:
        """Let real time pass again."""
        self._send("clock", {"frozen": False})

    def calls(self) -> list[dict[str, Any]]:
        """Every call so far, without their keys."""
        found: list[dict[str, Any]] = self._send("calls", None)
        return found

    def _send(self, path: str, body: dict[str, Any] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url, headers = f"{self._root}/{path}", {"content-type": "application/json"}
        request = urllib.request.Request(url, data, headers)  # noqa: S310 (the caller's own emulator)
        try:
            with urllib.request.urlopen(request) as reply:  # noqa: S310 (the same)
                return json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                reason = error.read().decode()
            raise ValueError(f"the emulator at {self._root} refused {path!r}: {reason}") from error
