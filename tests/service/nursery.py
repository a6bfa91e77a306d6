"""Starts connector services quickly: a process that has everything imported, and forks.

Run as a program. It reads one JSON object a line: the command line of a `pyflyte` to become, its log, and what its wall
clock is ahead of the real one. It answers each with the child's process id.
"""

import contextlib
import json
import mmap
import os
import signal
import struct
import sys
import time
from pathlib import Path

# All that the service would import at its start or at its first call.
import flytekit.extend.backend.connector_service  # noqa: F401 (imported for later)
import grpc.aio  # noqa: F401 (imported for later)
import openai.resources.batches
import openai.resources.files
import openai.types  # noqa: F401 (imported for later)
from flytekit.clis.sdk_in_container.pyflyte import main as pyflyte

import flytekitplugins.openai  # noqa: F401 (imported for later)


def serve():
    """Fork a child for each order, until there are no more."""
    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(**order)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _become(arguments, environment, log, clock, call_seconds):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(environment)
    with Path(log).open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _set_clock(clock)
    _hurry(call_seconds)
    sys.argv = ["pyflyte", *arguments]
    try:
        pyflyte()
    finally:
        os._exit(1)


def _set_clock(path):
    """Let the wall clock of this process run ahead by what the file says, as often as it changes."""
    real = time.time
    with Path(path).open("rb") as file:
        ahead = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    time.time = lambda: real() + struct.unpack("d", ahead[:8])[0]


def _hurry(call_seconds):
    """Let what takes real time pass as quickly as the days that are played around it."""
    with contextlib.suppress(ImportError):  # The published package has nothing of the kind.
        from flytekitplugins.openai import _client  # noqa: PLC0415
        from flytekitplugins.openai.batch.control import cancellation  # noqa: PLC0415

        cancellation.WAITS_SECONDS = (0.05,)
        _client.CALL_SECONDS = call_seconds or _client.CALL_SECONDS


if __name__ == "__main__":
    serve()
