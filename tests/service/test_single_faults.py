"""One fault at a time: what a user would want of each, and that it is what happens."""

import enum

import pytest

from flytekitplugins.openai.emulator import CallFault
from tests.builders import make_requests, upload_with
from tests.service.propeller import End
from tests.service.world import HOUR, MINUTE, World

# Real seconds, as everything else in this world goes faster.
CALL_SECONDS = 0.05
# Later than anything that is waited for.
DAY = 28 * HOUR
# Seconds between two polls, and until when; in truth it is 30 s all along.
POLLS = {MINUTE: 5 * MINUTE, 10 * MINUTE: 3 * HOUR, HOUR: float("inf")}


class Then(enum.Enum):
    """How the task ends."""

    # It succeeds, with one batch that completed, and no poll counts as failed.
    FINE = "fine"
    # It fails at once, in a sentence; nothing was submitted.
    TOLD = "told"
    # It fails ten minutes later: until then a new file may not be visible.
    UNKNOWN_FILE = "the file is not known"
    # It fails two hours later: until then whoever put in the wrong key can put in the right one.
    UNKNOWN_BATCH = "the batch is not known"
    # It fails when its batch's window has been over for two hours, with the last reason.
    GIVEN_UP = "given up"
    # It runs, until it is aborted or times out.
    RUNNING = "running"
    # It is aborted at once, and its batch is cancelled as soon as that can be.
    CANCELLED = "cancelled"
    # It is aborted at once, and its batch runs on: nobody can stop it.
    ABORTED = "aborted"


FINE, TOLD, UNKNOWN_FILE, UNKNOWN_BATCH = Then.FINE, Then.TOLD, Then.UNKNOWN_FILE, Then.UNKNOWN_BATCH
GIVEN_UP, RUNNING, CANCELLED, ABORTED = Then.GIVEN_UP, Then.RUNNING, Then.CANCELLED, Then.ABORTED

CALLS = {
    "look-up": {"method": "GET", "path": "/v1/batches"},
    "create": {"method": "POST", "path": "/v1/batches"},
    "get": {"method": "GET", "path": "/v1/batches/*"},
    "delete": {"method": "POST", "path": "/v1/batches/*/cancel"},
}
FAULTS = {
    "dropped after the work": {"drop": True, "after_work": True},
    "429": {"status": 429, "code": "rate_limit_exceeded", "headers": {"Retry-After": "40"}},
    "500": {"status": 500},
    "503": {"status": 503},
    "slow": {"delay": 2 * CALL_SECONDS},
    "truncated": {"truncate": 20},
    "unreadable": {"body": '{"id": "batch_'},
    "401": {"status": 401, "code": "invalid_api_key"},
    "404": {"status": 404},
    "unknown status": {"body": '{"id": "BATCH", "status": "pre_schedule", "created_at": 0.0}', "after_work": True},
}
REFUSED = "refused connection"
LASTS = {"once": 0, "an hour": HOUR, "for ever": float("inf")}
# What lasts an hour ends as what happens once, most often.
MARKS = {"an hour": pytest.mark.long}

# For each call of the connector's to OpenAI, and each fault of it: what becomes of the task when that happens once, for
# an hour, and for ever.
WANTED = {
    # Before anything is submitted it is looked for. While that cannot be done, nothing is submitted.
    ("look-up", "refused connection"): (FINE, FINE, GIVEN_UP),
    ("look-up", "dropped after the work"): (FINE, FINE, GIVEN_UP),
    ("look-up", "429"): (FINE, FINE, GIVEN_UP),
    ("look-up", "500"): (FINE, FINE, GIVEN_UP),
    ("look-up", "503"): (FINE, FINE, GIVEN_UP),
    ("look-up", "slow"): (FINE, FINE, GIVEN_UP),
    ("look-up", "truncated"): (FINE, FINE, GIVEN_UP),
    ("look-up", "unreadable"): (FINE, FINE, GIVEN_UP),
    ("look-up", "401"): (TOLD, TOLD, TOLD),
    ("look-up", "404"): (FINE, UNKNOWN_FILE, UNKNOWN_FILE),
    ("look-up", "unknown status"): (FINE, FINE, FINE),
    # A reply that is lost says nothing about the work, and is looked for.
    ("create", "refused connection"): (FINE, FINE, GIVEN_UP),
    ("create", "dropped after the work"): (FINE, FINE, FINE),
    ("create", "429"): (FINE, FINE, GIVEN_UP),
    ("create", "500"): (FINE, FINE, GIVEN_UP),
    ("create", "503"): (FINE, FINE, GIVEN_UP),
    ("create", "slow"): (FINE, FINE, FINE),
    ("create", "truncated"): (FINE, FINE, FINE),
    ("create", "unreadable"): (FINE, FINE, GIVEN_UP),
    ("create", "401"): (TOLD, TOLD, TOLD),
    ("create", "404"): (FINE, UNKNOWN_FILE, UNKNOWN_FILE),
    ("create", "unknown status"): (FINE, FINE, FINE),
    # A batch runs on, whoever can ask about it or not.
    ("get", "refused connection"): (FINE, FINE, GIVEN_UP),
    ("get", "dropped after the work"): (FINE, FINE, GIVEN_UP),
    ("get", "429"): (FINE, FINE, GIVEN_UP),
    ("get", "500"): (FINE, FINE, GIVEN_UP),
    ("get", "503"): (FINE, FINE, GIVEN_UP),
    ("get", "slow"): (FINE, FINE, GIVEN_UP),
    ("get", "truncated"): (FINE, FINE, GIVEN_UP),
    ("get", "unreadable"): (FINE, FINE, GIVEN_UP),
    ("get", "401"): (FINE, FINE, GIVEN_UP),
    ("get", "404"): (FINE, FINE, UNKNOWN_BATCH),
    ("get", "unknown status"): (FINE, FINE, RUNNING),
    # An execution that was aborted is over at once, and OpenAI is asked to stop for as long as it takes.
    ("delete", "refused connection"): (CANCELLED, CANCELLED, ABORTED),
    ("delete", "dropped after the work"): (CANCELLED, CANCELLED, CANCELLED),
    ("delete", "429"): (CANCELLED, CANCELLED, ABORTED),
    ("delete", "500"): (CANCELLED, CANCELLED, ABORTED),
    ("delete", "503"): (CANCELLED, CANCELLED, ABORTED),
    ("delete", "slow"): (CANCELLED, CANCELLED, CANCELLED),
    ("delete", "truncated"): (CANCELLED, CANCELLED, CANCELLED),
    ("delete", "unreadable"): (CANCELLED, CANCELLED, ABORTED),
    ("delete", "401"): (CANCELLED, CANCELLED, ABORTED),
    ("delete", "404"): (CANCELLED, CANCELLED, ABORTED),
    ("delete", "unknown status"): (CANCELLED, CANCELLED, CANCELLED),
}
ROWS = [
    pytest.param(call, fault, lasts, then, id=f"{call}, {fault}, {lasts}", marks=MARKS.get(lasts, ()))
    for (call, fault), thens in WANTED.items()
    for lasts, then in zip(LASTS, thens, strict=True)
]


@pytest.fixture(scope="module")
def gated_world(nursery):
    world = World(nursery, gated=True)
    yield world
    world.stop()


@pytest.fixture(scope="module")
def impatient_world(nursery):
    """Where an answer that takes longer than 50 ms is given up, be it slow on purpose or by chance."""
    world = World(nursery, call_seconds=CALL_SECONDS)
    yield world
    world.stop()


@pytest.fixture
def world(request, fault):
    world = request.getfixturevalue("impatient_world" if fault == "slow" else "gated_world")
    world.begin()
    world.emulator.change(requests_per_second=3 / (3 * HOUR), cancelling=MINUTE)
    return world


@pytest.mark.parametrize(("call", "fault", "lasts", "then"), ROWS)
def test_single_fault(world, call, fault, lasts, then):
    """The task ends as its row above says."""
    file_id = upload_with(world.client, make_requests(3))
    node = world.node(file_id=file_id)
    if call in ("get", "delete"):
        world.propeller.round(node)
        world.propeller.round(node)
    begins_at = world.emulator.now()
    strike(world, call, fault, LASTS[lasts], file_id)
    if call == "delete":
        world.propeller.abort(node)
    while True:
        world.propeller.round(node)
        if call != "delete":
            world.come_to_rest()
        passed = world.emulator.now() - begins_at
        if fault == REFUSED and passed >= LASTS[lasts]:
            world.gate.open()
        if then is CANCELLED and lasts != "an hour":
            # It is done in the background, in real time.
            world.wait_until(lambda: stopped(world))
        if passed > DAY or (node.end is not None and (call != "delete" or passed > LASTS[lasts])):
            break
        world.advance(next(step for step, until in POLLS.items() if passed < until))
    assert (outcome(world, node, passed), node.failed_polls) == (then, 0), node.state.message


def strike(world, call, fault, seconds, file_id):
    """Let a fault befall a kind of call, from now on."""
    if fault == REFUSED:
        world.gate.close()
        return
    how = dict(FAULTS[fault])
    if "body" in how:
        # The emulator numbers its files and batches in a row, and the batch is made right after its file.
        batch_id = f"batch_{int(file_id.removeprefix('file-'), 16) + 1:024x}"
        how["body"] = how["body"].replace("BATCH", batch_id).replace("0.0", str(int(world.emulator.now())))
        if call == "look-up":
            how["body"] = f'{{"object": "list", "data": [{how["body"]}], "has_more": false}}'
    world.emulator.order(CallFault(**CALLS[call], **how, **({"times": None, "seconds": seconds} if seconds else {})))


def stopped(world):
    return world.statuses()[0] in ("cancelling", "cancelled")


def outcome(world, node, passed):
    """What became of a task, after so many seconds."""
    world.emulator.clear_faults()
    if node.end is End.ABORTED:
        world.wait_until(lambda: world.statuses()[0] != "in_progress")
        return Then.CANCELLED if stopped(world) else Then.ABORTED
    if node.end is End.SUCCEEDED:
        return Then.FINE if world.statuses() == ["completed"] else world.statuses()
    if node.end is None:
        return Then.RUNNING
    # What is refused when the task is created is told by its first poll.
    limits = {Then.TOLD: 2 * MINUTE, Then.UNKNOWN_FILE: 0.5 * HOUR, Then.UNKNOWN_BATCH: 3 * HOUR, Then.GIVEN_UP: DAY}
    return next(then for then, latest in limits.items() if passed < latest)
