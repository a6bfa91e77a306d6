"""`python -m flytekitplugins.openai.emulator`: an OpenAI of one's own, until Ctrl-C."""

from __future__ import annotations

import argparse
import importlib
import math
import signal
import sys
from typing import Any

from .gateway import Call
from .responder import Responder, echo
from .server import Emulator

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; returns the exit status."""
    options = _parser().parse_args(arguments)
    emulator = Emulator(
        responder=options.responder,
        host=options.host,
        port=options.port,
        control=options.control,
        strict=False,
        on_call=_print_call,
        **{name: getattr(options, name) for name in ("validating", "requests_per_second", "finalizing", "cancelling")},
        enqueued_tokens=options.enqueued_tokens,
    )
    try:
        emulator.start()
    except OSError as error:
        print(
            f"cannot listen on {options.host}:{options.port}: {error.strerror}; choose another --port", file=sys.stderr
        )
        return 1
    # Either way to end it leaves no files behind. SIGINT too must be said, because flytekit has taken it for itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        print("The emulator listens. Any OpenAI client comes here with:\n")
        for name, value in emulator.environment.items():
            print(f"    export {name}={value}")
        print("\nCtrl-C ends it; nothing is kept.", flush=True)
        emulator.wait()
    except KeyboardInterrupt:
        emulator.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flytekitplugins.openai.emulator", description=__doc__)
    add: Any = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, default=8089, help="port to listen on; 0 takes a free one (%(default)s)")
    add("--validating", type=float, default=1.0, metavar="SECONDS", help="how long a batch validates (%(default)s)")
    add("--requests-per-second", type=float, default=math.inf, metavar="N", help="how fast a batch runs (%(default)s)")
    add("--finalizing", type=float, default=1.0, metavar="SECONDS", help="how long a batch finalizes (%(default)s)")
    add("--cancelling", type=float, default=1.0, metavar="SECONDS", help="how long a cancel takes (%(default)s)")
    add("--enqueued-tokens", type=int, metavar="N", help="prompt tokens that may be enqueued at once (any number)")
    add("--responder", type=_responder, default=echo, metavar="MODULE:FUNCTION", help="what the models answer")
    add("--control", action="store_true", help="let other processes order faults and move the clock")
    return parser


def _responder(name: str) -> Responder:
    module, _, function = name.partition(":")
    try:
        found: Responder = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{name!r} is not a function, as package.module:function: {error}") from error
    if not callable(found):
        raise argparse.ArgumentTypeError(f"{name!r} is not a function, but {found!r}")
    return found


def _print_call(call: Call) -> None:
    print(f"{call.method} {call.path} {call.status or 'dropped'}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
