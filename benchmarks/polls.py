"""What a poll costs. Flyte asks the connector every 30 s about each live task, some 2,880 times in a day."""

import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
from flyteidl.admin.agent_pb2 import GetTaskRequest
from flyteidl.core.execution_pb2 import TaskExecution
from flyteidl.service.agent_pb2_grpc import AsyncAgentServiceStub
from rich.console import Console

from . import polls_report, published
from .polls_report import Result, Sample
from .service import Connector, ConnectorService, cpu_seconds

PYFLYTE = Path(sys.executable).with_name("pyflyte")
OURS = Connector("this package", PYFLYTE)
PUBLISHED = Connector(f"published {published.VERSION}", published.PYFLYTE)
IDLE = Connector("doing nothing", PYFLYTE, task_type="idle", modules=("idle_connector",))

# A quiet service and a very busy one.
IN_FLIGHT = (16, 200)
TASKS = max(IN_FLIGHT)
ROUNDS = 5
# CPU time is told in hundredths of a second.
LEAST_POLLS_AT_ONCE = 100
# After so many the connection pool is full and the garbage collector in its stride; a slow connector gets fewer.
WARM_UP_POLLS = 4_000
WARM_UP_SECONDS = 20
# Flyte would cancel a poll after 10 s; here a slow connector is measured to the end.
POLL_SECONDS = 60


def run(polls: int) -> None:
    """Poll each connector about `polls` times, a part in each round, and print what it cost.

    Raises:
        BenchmarkError: A service did not start, or did not answer.
    """
    console = Console()
    polls_at_once = max(LEAST_POLLS_AT_ONCE, polls // (ROUNDS * len(IN_FLIGHT)))
    with ExitStack() as stack, console.status("starting three services") as status:
        services = []
        for connector in (OURS, PUBLISHED, IDLE):
            services.append(ConnectorService(connector))
            stack.callback(services[-1].stop)
        polled = [_Polled(service) for service in services]
        for one in polled:
            status.update(f"warming up: {one.title}")
            one.warm_up()
        for number in range(ROUNDS):
            # Each is first, second and third in turn, because a machine's pace drifts.
            for one in _rotated(polled, number):
                status.update(f"round {number + 1} of {ROUNDS}: {one.title}")
                for in_flight in IN_FLIGHT:
                    one.sample(polls_at_once, in_flight)
        results = [one.result() for one in polled]
    polls_report.show(console, *results)


def _rotated(polled: list["_Polled"], by: int) -> list["_Polled"]:
    by %= len(polled)
    return polled[by:] + polled[:by]


class _Polled:
    """One service, its live tasks, and what was measured of it."""

    def __init__(self, service: ConnectorService) -> None:
        self.title = service.connector.title
        self._service = service
        self._tasks = itertools.cycle(service.create_tasks(TASKS))
        self._samples: dict[int, list[Sample]] = {in_flight: [] for in_flight in IN_FLIGHT}
        self._resident_bytes = 0

    def warm_up(self) -> None:
        """Poll without measuring."""
        until = time.monotonic() + WARM_UP_SECONDS
        tasks = itertools.takewhile(lambda _: time.monotonic() < until, itertools.islice(self._tasks, WARM_UP_POLLS))
        self._poll(tasks, max(IN_FLIGHT))
        self._service.openai.count_connections()
        self._resident_bytes = self._service.resident_bytes()

    def sample(self, polls: int, in_flight: int) -> None:
        """Measure `polls` polls, `in_flight` of them at any time."""
        before = self._spent()
        self._poll(itertools.islice(self._tasks, polls), in_flight)
        spent = [after - earlier for earlier, after in zip(before, self._spent(), strict=True)]
        connections = self._service.openai.count_connections()
        self._samples[in_flight].append(Sample(polls, *spent, connections=connections))

    def result(self) -> Result:
        """Everything that was measured."""
        return Result(
            self.title, self._samples, self._resident_bytes, self._service.resident_bytes(), self._service.peak_bytes()
        )

    def _poll(self, tasks: Iterator[GetTaskRequest], in_flight: int) -> None:
        try:
            asyncio.run(_poll(self._service.address, tasks, in_flight))
        except (grpc.RpcError, _NotRunningError) as error:
            raise self._service.failure(error) from error

    def _spent(self) -> tuple[float, ...]:
        """Seconds so far, in the order of `Sample`. The client is this process."""
        return (
            time.perf_counter(),
            self._service.cpu_seconds(),
            cpu_seconds(self._service.openai.pid),
            time.process_time(),
        )


class _NotRunningError(Exception):
    """A poll was answered with another phase than that of every batch here."""


async def _poll(address: str, tasks: Iterator[GetTaskRequest], in_flight: int) -> None:
    async def keep_one_in_flight() -> None:
        # All of them take from the same iterator.
        for task in tasks:
            resource = (await service.GetTask(task, timeout=POLL_SECONDS)).resource
            if resource.phase != TaskExecution.RUNNING:
                raise _NotRunningError(f"phase {TaskExecution.Phase.Name(resource.phase)}: {resource.message}")

    async with grpc.aio.insecure_channel(address) as channel:
        service = AsyncAgentServiceStub(channel)
        await asyncio.gather(*(keep_one_in_flight() for _ in range(in_flight)))
