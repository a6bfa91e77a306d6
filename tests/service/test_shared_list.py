"""Many tasks at once: few calls answer all their polls, and no list, however odd, loses or doubles a batch."""

from collections import Counter

import pytest

from flytekitplugins.openai.emulator import CallFault
from tests.service.days import ODD_LISTS, odd_list
from tests.service.propeller import End
from tests.service.world import HOUR, MINUTE

TASKS = 16
LIST = {"method": "GET", "path": "/v1/batches"}


def start(world, count=TASKS):
    """So many tasks, whose batches have run for eleven minutes: until then each looks for duplicates."""
    nodes = [world.node(6) for _ in range(count)]
    world.emulator.change(requests_per_second=6 / HOUR)
    for minutes in (0, 3, 11, 0, 0):
        world.advance(minutes * MINUTE)
        rounds(world, nodes)
    world.emulator.calls.clear()
    return nodes


def rounds(world, nodes):
    for node in nodes:
        world.propeller.round(node)
    world.advance(30)


def run_to_the_end(world, nodes):
    """Two hours later each batch has completed, and each is looked up."""
    world.advance(2 * HOUR)
    for _ in range(4):
        rounds(world, nodes)


def gets(world):
    """How often the list was read, and how often batches were looked up."""
    return Counter("pages" if call.path == LIST["path"] else "look-ups" for call in world.emulator.calls)


def test_polls_of_many_tasks_share_a_page(world):
    """One call for each replica, and a look-up a minute."""
    nodes = start(world)
    for _ in range(20):
        rounds(world, nodes)
    polls = 20 * TASKS
    assert sum(gets(world).values()) <= polls / 4
    assert gets(world)["look-ups"] <= 30
    run_to_the_end(world, nodes)
    assert {node.end for node in nodes} == {End.SUCCEEDED}


def test_single_task_is_looked_up(world):
    """A page would cost more."""
    nodes = start(world, 1)
    for _ in range(20):
        rounds(world, nodes)
    assert gets(world) == {"look-ups": 20}


def test_end_is_known_with_the_first_poll_after_it(world):
    """The list shows it, and the batch itself is asked."""
    nodes = start(world)
    world.advance(2 * HOUR)
    rounds(world, nodes)
    assert {node.end for node in nodes} == {End.SUCCEEDED}


def test_progress_is_told_as_by_a_look_up(world):
    """From the list as from the batch."""
    nodes = start(world)
    messages = {node.state.message for node in nodes}
    rounds(world, nodes)
    assert gets(world)["pages"] >= 1
    assert len({node.state.message for node in nodes} | messages) <= 3


FAULTS = {
    "empty": {"body": '{"object": "list", "data": [], "has_more": false}'},
    "failing": {"status": 500},
    "rate limited": {"status": 429, "code": "rate_limit_exceeded", "headers": {"Retry-After": "30"}},
    "not there": {"status": 404},
    "dropped": {"drop": True},
    "cut off": {"truncate": 20},
}


@pytest.mark.long
@pytest.mark.parametrize("trouble", [*ODD_LISTS, *FAULTS])
def test_odd_list_loses_nothing(world, trouble):
    """Each task ends after its batch has, and nothing is bought twice."""
    nodes = start(world)
    is_fault = trouble in FAULTS
    world.emulator.order(CallFault(**LIST, **FAULTS[trouble], times=None) if is_fault else odd_list(world, trouble))
    for number in range(8):
        rounds(world, nodes)
        if number == 4:
            world.restart(0)
    run_to_the_end(world, nodes)
    world.emulator.clear_faults()
    assert [(node.end, node.failed_polls) for node in nodes] == [(End.SUCCEEDED, 0)] * TASKS
    assert world.statuses() == ["completed"] * TASKS
