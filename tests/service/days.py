"""Whole days in the life of a task: what befalls it, by chance, and what must be so in the evening."""

import contextlib
import enum
import itertools
import json
import random
from collections import Counter
from dataclasses import dataclass

import openai
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.interaction.string_literals import literal_map_string_repr
from flytekit.models.literals import LiteralMap

from flytekitplugins.openai.emulator import BatchFault, CallFault
from flytekitplugins.openai.emulator.batch import LIVE
from tests.service.propeller import End
from tests.service.world import HOUR, MINUTE

REQUESTS = 3
# A task is looked at more often while it is young, when most goes wrong; in truth it is each 30 s.
FIRST_POLLS = [30, 60, 90, 120, 240, 360, 480, 600]
LONGEST_DAY = 72 * HOUR

# What may befall a call. In each case OpenAI, or the network, is to blame, and it passes.
TROUBLES = {
    "500": {"status": 500},
    "503": {"status": 503},
    "429": {"status": 429, "code": "rate_limit_exceeded", "headers": {"Retry-After": "30"}},
    "dropped before the work": {"drop": True},
    "dropped after the work": {"drop": True, "after_work": True},
    "cut off": {"truncate": 20},
    "not JSON": {"body": "<html>Bad gateway</html>"},
}
TROUBLES_OF = {
    # While a key is rotated; when a task is created, they are told at once.
    "poll": {**TROUBLES, "401": {"status": 401, "code": "invalid_api_key"}, "404": {"status": 404}},
    # What was made lately is not on it yet.
    "list": {**TROUBLES, "stale": {"body": '{"object": "list", "data": [], "has_more": false}'}},
}
# What else a list may be: a cache is behind, or a server shows less than OpenAI. Each makes its batches from those that
# there are when it begins.
ODD_LISTS = {
    "cached": lambda batches: batches,
    "in another order": lambda batches: batches[::-1],
    "without some": lambda batches: batches[::2],
    "without counts": lambda batches: [_without("request_counts", batch) for batch in batches],
    "without statuses": lambda batches: [_without("status", batch) for batch in batches],
    "without ids": lambda batches: [_without("id", batch) for batch in batches],
    "of failed batches": lambda batches: [{**batch, "status": "failed"} for batch in batches],
    "of numbers": lambda batches: [*range(len(batches))],
}
# Longer than that they are no accident any more, in seconds.
LONGEST = {"404": HOUR, "stale": 2 * MINUTE}
CALLS = {
    "any": ("*", "/v1/batches*"),
    "create": ("POST", "/v1/batches"),
    "list": ("GET", "/v1/batches"),
    "poll": ("GET", "/v1/batches/*"),
    "cancel": ("POST", "/v1/batches/*/cancel"),
}


class Fault(enum.Enum):
    """What a connector may do wrong on such a day."""

    LOST = "work lost"
    BOUGHT_TWICE = "work bought twice"
    LEFT_RUNNING = "a batch left running that nobody will read"
    POLLS_FAILED = "polls failed for what passes"
    WRONG_RESULT = "another batch's result"
    WRONG_PHASE = "a phase on the console that is over"


@dataclass(frozen=True)
class Outage:
    """OpenAI's calls of one kind fail for a time, or once. Times are seconds of the day."""

    at: float
    lasts: float | None
    call: str
    trouble: str

    def fault(self):
        method, path = CALLS[self.call]
        how = TROUBLES_OF.get(self.call, TROUBLES)[self.trouble]
        return CallFault(method=method, path=path, seconds=self.lasts, times=None if self.lasts else 1, **how)


@dataclass(frozen=True)
class Kill:
    """A replica is killed: between two calls, or in the middle of one of its own to OpenAI."""

    at: float
    during: str | None
    after_work: bool


@dataclass(frozen=True)
class Day:
    """The faults of one task. Times are seconds of the day.

    Attributes:
        runs_for: How long its batch takes to run.
        room_at: When there is room in OpenAI's queue for it.
        internal_errors: How many of its batches OpenAI fails with an internal error.
        stuck: Its first batch never gets anywhere, until the attempt times out.
        lose_states: How often Flyte forgets that it created the task.
        lose_replies: How often Flyte misses the reply to a create.
        abort_at: When somebody aborts the execution.
    """

    seed: int
    runs_for: float
    validating: float
    every: float
    room_at: float
    internal_errors: int
    stuck: bool
    lose_states: int
    lose_replies: int
    abort_at: float | None
    outages: tuple[Outage, ...]
    kills: tuple[Kill, ...]

    @property
    def retries(self):
        """As many as it takes: each kill may lose Flyte a reply to a create."""
        return self.internal_errors + self.stuck + self.lose_replies + len(self.kills)


def make_day(seed):
    """A day by chance; the same for the same seed."""
    chance = random.Random(seed)

    def some(most, odds):
        return sum(chance.random() < odds for _ in range(most))

    runs_for = chance.choice([0, 5 * MINUTE, HOUR, 6 * HOUR, 20 * HOUR])
    abort_at = chance.uniform(0, 1.2 * runs_for + HOUR) if chance.random() < 0.25 else None
    # Half of what goes wrong goes wrong at once: there is most to go wrong with.
    moment = lambda: chance.choice([chance.uniform(0, 10 * MINUTE), chance.uniform(0, 1.5 * runs_for + HOUR)])  # noqa: E731
    outages = []
    for _ in range(some(4, 0.5)):
        call = chance.choice(list(CALLS))
        trouble = chance.choice(list(TROUBLES_OF.get(call, TROUBLES)))
        lasts = chance.choice([None, 2 * MINUTE, HOUR, 5 * HOUR])
        outages.append(Outage(moment(), lasts and min(lasts, LONGEST.get(trouble, lasts)), call, trouble))
    kills = []
    for _ in range(some(2, 0.3)):
        during = chance.choice([None, "create", "create", "list", "poll", "cancel"])
        kills.append(Kill(moment(), during, chance.random() < 0.5))
    return Day(
        seed=seed,
        runs_for=runs_for,
        validating=chance.choice([0, 20, 5 * MINUTE]),
        every=chance.choice([10 * MINUTE, 20 * MINUTE, 40 * MINUTE]),
        room_at=chance.choice([0, 0, 0, 10 * MINUTE, 3 * HOUR]),
        internal_errors=some(1, 0.15),
        stuck=chance.random() < 0.15,
        lose_states=some(2, 0.3),
        lose_replies=some(2, 0.2),
        abort_at=abort_at,
        outages=tuple(sorted(outages, key=lambda outage: outage.at)),
        kills=tuple(sorted(kills, key=lambda kill: kill.at)),
    )


def make_odd_lists(seed):
    """When the list is odd for two minutes on such a day, and how."""
    chance = random.Random(f"lists of {seed}")
    return sorted((chance.uniform(0, 10 * MINUTE), chance.choice([*ODD_LISTS])) for _ in range(chance.randint(1, 3)))


def odd_list(world, how, *, seconds=None):
    """The fault that shows OpenAI's list as `ODD_LISTS` says."""
    listed = json.loads(world.client.batches.with_raw_response.list(limit=100).text)
    # Another odd list may be under way.
    batches = [batch for batch in listed["data"] if isinstance(batch, dict)]
    if not batches:
        raise LookupError("there is no list that could be odd")
    body = json.dumps({**listed, "data": ODD_LISTS[how](batches)})
    return CallFault(method="GET", path="/v1/batches", body=body, times=None, seconds=seconds)


def _without(name, batch):
    return {field: value for field, value in batch.items() if field != name}


def play(world, day, *, shards=None, odd_lists=()):
    """Let a day pass; returns the node at its end. Its task has one file, or so many shards.

    Args:
        world: Where it passes.
        day: What happens.
        shards: How many files the task has, if not one.
        odd_lists: When the list is odd for two minutes, and how, the first one first.
    """
    world.begin()
    pace = REQUESTS / day.runs_for if day.runs_for else float("inf")
    world.emulator.change(
        validating=day.validating,
        requests_per_second=0 if day.stuck else pace,
        cancelling=5 * MINUTE,
        enqueued_tokens=0 if day.room_at else None,
    )
    for _ in range(day.internal_errors):
        world.emulator.order(BatchFault(code="internal_error"))
    attempts = {"retries": day.retries, "timeout": 8 * HOUR if day.stuck else None}
    node = world.sharded_node(shards, requests=REQUESTS, **attempts) if shards else world.node(REQUESTS, **attempts)
    world.propeller.lose_states, world.propeller.lose_replies = day.lose_states, day.lose_replies
    outages, kills, odd_lists = list(day.outages), list(day.kills), list(odd_lists)
    begins_at = world.emulator.now()
    for moment in _moments(day):
        world.advance(begins_at + moment - world.emulator.now())
        while outages and outages[0].at <= moment:
            world.emulator.order(outages.pop(0).fault())
        while odd_lists and odd_lists[0][0] <= moment:
            # While there is no list at all, none is odd.
            with contextlib.suppress(openai.OpenAIError, LookupError, ValueError):
                world.emulator.order(odd_list(world, odd_lists.pop(0)[1], seconds=2 * MINUTE))
        if moment >= day.room_at:
            world.emulator.change(enqueued_tokens=None)
        if node.timeouts:
            world.emulator.change(requests_per_second=pace)
            node.timeout = None
        # What came of a create whose reply was lost is known to nobody, unless another attempt finds it.
        if day.abort_at is not None and moment >= day.abort_at and node.state.resource_meta is not None:
            world.propeller.abort(node)
            # A cancel that OpenAI did not take is forgotten with its process.
            world.spare()
        while kills and kills[0].at <= moment and not world.propeller.has_aborted(node):
            _kill(world, kills.pop(0))
        killed = world.kills
        world.propeller.round(node)
        if world.kills > killed:
            # Flyte asks another replica, while OpenAI may still be at work for the one that was killed.
            world.propeller.round(node)
        world.come_to_rest()
        if node.end is not None:
            break
    return node


def faults_of(world, node, day):
    """The violated guarantees at the end of the day, with details; empty if there are none."""
    world.emulator.clear_faults()
    world.wait_until(lambda: not _running(world))
    running = _running(world)
    world.advance(HOUR)
    completed = {batch.id: batch.input_file_id for batch in world.batches() if batch.status == "completed"}
    bought = Counter(completed.values())
    wanted = [End.SUCCEEDED] if day.abort_at is None else [End.SUCCEEDED, End.ABORTED]
    checks = {
        Fault.LOST: (node.end in wanted, f"it ended as {node.end}: {node.state.message[-300:]}"),
        Fault.POLLS_FAILED: (node.failed_polls <= world.kills, f"{node.failed_polls} polls failed"),
        Fault.BOUGHT_TWICE: (max(bought.values(), default=0) <= 1, f"{bought} completed"),
        Fault.LEFT_RUNNING: (not running, f"nobody will read {running}"),
        # A process that begins while nobody can be asked does not know what the others have told.
        Fault.WRONG_PHASE: (bool(day.kills) or _phases_are_in_order(node), f"{node.phases}"),
        Fault.WRONG_RESULT: (node.end is not End.SUCCEEDED or _ids_in_result(node) <= set(completed), "not of these"),
    }
    return {fault: detail for fault, (is_well, detail) in checks.items() if not is_well}


def _phases_are_in_order(node):
    """Whether, in each attempt, what comes before RUNNING came before it; afterwards it would stay on the screen.

    A single file is told as in the published package.
    """
    if "input_file_id" in node.inputs.literals:
        return True
    early = {TaskExecution.INITIALIZING, TaskExecution.WAITING_FOR_RESOURCES}
    pairs = itertools.combinations(node.events, 2)
    return not any(
        first.attempt == then.attempt and first.phase == TaskExecution.RUNNING and then.phase in early
        for first, then in pairs
    )


def _running(world):
    return [batch.id for batch in world.batches() if batch.status in LIVE - {"cancelling"}]


def _ids_in_result(node):
    result = json.loads(literal_map_string_repr(LiteralMap.from_flyte_idl(node.outputs))["result"])
    return {batch["id"] for batch in result.get("batches", [result])}


def _moments(day):
    yield 0
    yield from FIRST_POLLS
    moment = FIRST_POLLS[-1]
    while moment < LONGEST_DAY:
        moment += day.every
        yield moment


def _kill(world, kill):
    if kill.during is None:
        world.restart(0)
    else:
        world.kill_during(*CALLS[kill.during], after_work=kill.after_work)
