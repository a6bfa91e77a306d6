"""What many live tasks cost, polled as Flyte polls them: each every 30 s, at an even pace."""

import random
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from queue import SimpleQueue

import grpc
from flyteidl.admin.agent_pb2 import GetTaskRequest
from flyteidl.core.execution_pb2 import TaskExecution
from flyteidl.service.agent_pb2_grpc import AsyncAgentServiceStub
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .errors import BenchmarkError
from .machine import describe_machine
from .many_batches import ManyBatches
from .polls import IDLE, OURS, POLL_SECONDS, PUBLISHED
from .polls_report import MEGABYTE
from .service import Connector, ConnectorService

INTERVAL_SECONDS = 30
ROUNDS = 2
AIM_TIMES_IDLE = 2.5
AIM_POLLS_A_CALL = "20 (of 200 tasks) and 50 (of 5,000)"
# The CPU time of a process is told in hundredths of a second.
LEAST_POLLS = 200


@dataclass(frozen=True)
class Account:
    """What an account has, and who serves it.

    Attributes:
        live: How many live tasks.
        ended_each: For each of their batches, so many that have ended.
        replicas: How many services there are, each of which is asked as often as the others, and at random.
        batches_each: How many batches each task has.
    """

    live: int
    ended_each: int = 0
    replicas: int = 1
    batches_each: int = 1


@dataclass(frozen=True)
class Measured:
    """What some rounds of polls took: CPU seconds, calls to OpenAI, bytes, and the oldest answer in seconds.

    The memory is that of the largest replica; everything else is that of all of them.
    """

    polls: int
    refused: int
    cpu: float
    pages: int
    look_ups: int
    resident: int
    oldest: float

    @property
    def polls_a_call(self) -> float:
        """How many polls a call to OpenAI answers."""
        return self.polls / max(1, self.pages + self.look_ups)


# What is measured at the same time: two cores are enough for each.
TOGETHER = (
    (
        (OURS, Account(1)),
        (OURS, Account(200)),
        (OURS, Account(5_000)),
        (IDLE, Account(1)),
        (IDLE, Account(200)),
        (IDLE, Account(5_000)),
        # With 5,000 it would need ten cores.
        (PUBLISHED, Account(200)),
    ),
    (
        (OURS, Account(1, 20_000)),
        (OURS, Account(200, 100)),
        (OURS, Account(1_000, 20)),
        (OURS, Account(1_000)),
        (OURS, Account(1_000, replicas=4)),
        (OURS, Account(250, batches_each=20)),
        (IDLE, Account(1)),
        (IDLE, Account(200)),
        (IDLE, Account(250)),
        (IDLE, Account(1_000)),
    ),
    ((OURS, Account(5_000, 4)), (IDLE, Account(5_000))),
)


def run(most: int) -> None:
    """Poll accounts of at most so many live tasks, and print what it cost.

    Raises:
        BenchmarkError: A service did not start, or did not answer.
    """
    console = Console()
    together = [[place for place in places if place[1].live <= most] for places in TOGETHER]
    together = [places for places in together if places]
    with console.status("") as status:
        measured = []
        for places in together:
            status.update(f"polling the tasks of {len(places)} accounts, each in services of its own")
            measured.append(dict(zip(places, _measure_all(places), strict=True)))
    # Narrow enough for a terminal of 80 columns.
    style = {"title_justify": "left", "title_style": "bold", "box": SIMPLE_HEAD, "pad_edge": False}
    table = Table(title="Polls of many live tasks", **style)
    table.add_column(no_wrap=True)
    for heading in ("CPU\na poll", "doing\nnothing", "times", "pub-\nlished", "polls\na call", "oldest", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for beside in measured:
        for (connector, account), ours in beside.items():
            if connector is OURS:
                others = [beside.get((other, Account(account.live))) for other in (IDLE, PUBLISHED)]
                table.add_row(_describe(account), *_cells(ours, *others))
        table.add_section()
    console.print(table)
    aims = f"CPU {AIM_TIMES_IDLE} times doing nothing, polls a call {AIM_POLLS_A_CALL}, the oldest answer 10 s"
    console.print(f"Aims: {aims}.")
    refused = sum(one.refused for beside in measured for one in beside.values())
    if refused:
        console.print(f"Polls that gRPC refused because over 1,000 waited, and that are left out: {refused:,}.")
    console.print(describe_machine("flytekit", "openai", "grpcio"), highlight=False)


def _describe(account: Account) -> str:
    beside = f"\n{account.live * account.ended_each:,} ended" if account.ended_each else ""
    served = f"\n{account.replicas} replicas" if account.replicas > 1 else ""
    of = f"\nx {account.batches_each} batches" if account.batches_each > 1 else ""
    return f"{account.live:,} live{of}{beside}{served}"


def _cells(ours: Measured, idle: Measured | None, published: Measured | None) -> Iterator[str]:
    yield _cpu(ours)
    yield _cpu(idle)
    yield f"{ours.cpu / idle.cpu:.1f}" if idle else ""
    yield _cpu(published)
    yield f"{ours.polls_a_call:.{0 if ours.polls_a_call >= 10 else 1}f}"
    yield f"{ours.oldest:.1f} s"
    yield f"{ours.resident / MEGABYTE:.0f} MB"


def _cpu(measured: Measured | None) -> str:
    return "" if measured is None else f"{1_000 * measured.cpu / measured.polls:.2f} ms"


def _measure_all(places: list[tuple[Connector, Account]]) -> list[Measured]:
    """All at once, each in a thread: at this pace they keep no core busy. Each begins when all are ready."""
    ready = threading.Barrier(len(places))
    with ThreadPoolExecutor(len(places)) as threads:
        return list(threads.map(lambda place: _measure(*place, ready), places))


def _measure(connector: Connector, account: Account, ready: threading.Barrier) -> Measured:
    with ExitStack() as stack:
        openai = ManyBatches(account.live, account.ended_each, account.batches_each)
        services = []
        for _ in range(account.replicas):
            services.append(ConnectorService(connector, openai=openai))
            stack.callback(services[-1].stop)
        try:
            tasks = services[0].create_tasks(account.live, batches_each=account.batches_each)
        except BenchmarkError:
            # The others do not wait for it.
            ready.abort()
            raise
        # Flyte knows nothing of the order in which the batches were made.
        random.Random(0).shuffle(tasks)  # noqa: S311 (no secret)
        ready.wait()
        try:
            return _poll_in_rounds(services, tasks, openai)
        except grpc.RpcError as error:
            raise services[0].failure(error) from error


def _poll_in_rounds(services: list[ConnectorService], tasks: list[GetTaskRequest], openai: ManyBatches) -> Measured:
    # Of few tasks each is polled more often than Flyte would, or their CPU time could not be told.
    tasks = [*islice(cycle(tasks), max(len(tasks), LEAST_POLLS // ROUNDS))]
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(service.address)) for service in services]
        replicas = [*map(AsyncAgentServiceStub, channels)]
        # Each finds the batches first, then they learn how often these are polled.
        for replica in replicas:
            _poll([replica], tasks, openai)
        _poll(replicas, tasks, openai)
        openai.count_calls()
        cpu = sum(service.cpu_seconds() for service in services)
        ages = [age for _ in range(ROUNDS) for age in _poll(replicas, tasks, openai)]
        cpu = sum(service.cpu_seconds() for service in services) - cpu
        calls = openai.count_calls()
    resident = max(service.resident_bytes() for service in services)
    refused = ROUNDS * len(tasks) - len(ages)
    return Measured(len(ages), refused, cpu, calls["pages"], calls["look-ups"], resident, max(ages))


def _poll(replicas: list[AsyncAgentServiceStub], tasks: list[GetTaskRequest], openai: ManyBatches) -> list[float]:
    """Poll each task once in the interval; returns the age of each answer, 0 for one that tells no progress."""
    begins_at = time.monotonic()
    answers: SimpleQueue[tuple[grpc.Future, float]] = SimpleQueue()
    for number, task in enumerate(tasks):
        time.sleep(max(0.0, begins_at + INTERVAL_SECONDS * number / len(tasks) - time.monotonic()))
        replica = random.choice(replicas)  # noqa: S311 (no secret)
        poll = replica.GetTask.future(task, timeout=POLL_SECONDS)
        poll.add_done_callback(lambda done: answers.put((done, time.time())))
    ages = []
    for _ in tasks:
        poll, answered_at = answers.get()
        # While over 1,000 calls wait, gRPC's server refuses some (its `grpc.server.max_pending_requests`). Here polls
        # are sent whether it keeps up or not; FlytePropeller's few workers wait for the answers.
        if poll.code() is grpc.StatusCode.CANCELLED:
            continue
        resource = poll.result().resource
        if resource.phase != TaskExecution.RUNNING:
            raise BenchmarkError(
                f"A poll was answered with {TaskExecution.Phase.Name(resource.phase)}: {resource.message}"
            )
        done = re.search(r"([\d,]+) of [\d,]+ requests", resource.message)
        ages.append(openai.age(int(done[1].replace(",", "")), at=answered_at) if done else 0.0)
    time.sleep(max(0.0, begins_at + INTERVAL_SECONDS - time.monotonic()))
    return ages
