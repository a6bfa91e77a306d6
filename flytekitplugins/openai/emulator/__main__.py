"""`python -m flytekitplugins.openai.emulator`: run an emulator until Ctrl-C, or while a command runs."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import os
import signal
import subprocess
import sys
from typing import Any

from flytekitplugins.openai._arguments import token_limit, token_limits

from .gateway import Call
from .responder import Responder, echo
from .server import Emulator

__all__ = ["main"]

DEFAULT_PORT = 8089


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted, or as long as a command runs; returns the exit status."""
    options = _parser().parse_args(arguments)
    port = options.port if options.port is not None else 0 if options.command else DEFAULT_PORT
    emulator = Emulator(
        responder=options.responder,
        host=options.host,
        port=port,
        control=options.control,
        strict=False,
        on_call=None if options.command else _print_call,
        **{name: getattr(options, name) for name in ("validating", "requests_per_second", "finalizing", "cancelling")},
        enqueued_tokens=token_limits(options.enqueued_tokens),
        azure=options.azure,
    )
    try:
        emulator.start()
    except OSError as error:
        print(f"cannot listen on {options.host}:{port}: {error.strerror}; choose another --port", file=sys.stderr)
        return 1
    try:
        return _run(options.command, emulator) if options.command else _serve(emulator)
    finally:
        emulator.stop()


def _serve(emulator: Emulator) -> int:
    # Either way to end it leaves no files behind. SIGINT too must be said, because flytekit has taken it for itself.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    print("The emulator is listening. Point any OpenAI client at it with:\n")
    for name, value in emulator.environment.items():
        print(f"    export {name}={value}")
    print("\nCtrl-C stops it; nothing is kept.", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        emulator.wait()
    return 0


def _run(command: list[str], emulator: Emulator) -> int:
    process: subprocess.Popen[bytes] | None = None
    is_ended = False

    def end(*_: object) -> None:
        nonlocal is_ended
        is_ended = True
        if process is not None:
            process.terminate()

    # Set before the command is there, which a signal in between would leave running. Ctrl-C in a terminal reaches it,
    # too, and it may have batches to cancel here before it ends.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, end)
    try:
        process = subprocess.Popen(command, env={**os.environ, **emulator.environment})
    except OSError as error:
        print(f"cannot run {command[0]!r}: {error.strerror}", file=sys.stderr)
        return 127
    if is_ended:
        process.terminate()
    status = process.wait()
    return status if status >= 0 else 128 - status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flytekitplugins.openai.emulator", description=__doc__)
    add: Any = parser.add_argument
    add("command", nargs="*", help="a command to run against the emulator, after --; the emulator stops with it")
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, help=f"port to listen on; 0 takes a free one ({DEFAULT_PORT}, with a command a free one)")
    add("--validating", type=float, default=1.0, metavar="SECONDS", help="how long a batch validates (%(default)s)")
    add("--requests-per-second", type=float, default=math.inf, metavar="N", help="how fast a batch runs (%(default)s)")
    add("--finalizing", type=float, default=1.0, metavar="SECONDS", help="how long a batch finalizes (%(default)s)")
    add("--cancelling", type=float, default=1.0, metavar="SECONDS", help="how long a cancel takes (%(default)s)")
    add(
        "--enqueued-tokens",
        action="append",
        type=token_limit,
        metavar="[MODEL=]N",
        help="prompt tokens that may be enqueued at once, of each model or of one (any number)",
    )
    add("--azure", action="store_true", help="make batches behave as Azure's")
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
