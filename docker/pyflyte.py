#!/usr/bin/env python3
"""`pyflyte` in the connector's image: on SIGTERM or SIGINT its service answers the calls under way, then ends with 0.

The kernel gives a container's first process only the signals that it handles. pyflyte does not handle SIGTERM, and on
SIGINT it aborts its calls. On Python 3.10 it may even go on: gRPC drops what a signal raises in one of its callbacks.
Flyte's chart runs `pyflyte serve`, whatever the image's command is; so this has that name.
"""

import asyncio
import os
import signal
import sys

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# More than the 10 s that Flyte waits for an answer, and less than the 30 s after which Kubernetes kills.
GRACE_SECONDS = 20


def end_at_once_on_signals():
    """Until the service has started, nothing is under way."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(0))


def stop_services_on_signals():
    """Have each gRPC server that is made from now on listen to the signals once it has started."""
    import grpc.aio  # noqa: PLC0415 (the signals must be handled first)

    make_server = grpc.aio.server

    def make_stoppable_server(*args, **arguments):
        server = make_server(*args, **arguments)
        start, stops = server.start, set()

        async def start_and_listen():
            await start()
            loop = asyncio.get_running_loop()
            for number in SIGNALS:
                # asyncio keeps no reference to a task, and one that nobody keeps may vanish.
                loop.add_signal_handler(number, lambda: stops.add(loop.create_task(server.stop(GRACE_SECONDS))))

        server.start = start_and_listen
        return server

    grpc.aio.server = make_stoppable_server


def main():
    """Run pyflyte; returns its exit status."""
    is_service = sys.argv[1:2] == ["serve"]
    if is_service:
        # The imports take seconds.
        end_at_once_on_signals()
        stop_services_on_signals()
    from flytekit.clis.sdk_in_container.pyflyte import main as pyflyte  # noqa: PLC0415 (the same)

    if is_service:
        # Again, because flytekit takes SIGINT for itself when it is imported.
        end_at_once_on_signals()
    return pyflyte()


if __name__ == "__main__":
    sys.exit(main())
