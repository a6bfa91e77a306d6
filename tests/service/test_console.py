"""What Flyte's console shows of `create_batch`'s batch step: each phase comes to it once in an attempt."""

import pytest
from flyteidl.core.execution_pb2 import TaskExecution

from flytekitplugins.openai.emulator import CallFault
from tests.service.propeller import End
from tests.service.test_shards import TOKENS_A_SHARD
from tests.service.world import HOUR, MINUTE

INITIALIZING, WAITING, RUNNING, SUCCEEDED = (
    TaskExecution.INITIALIZING,
    TaskExecution.WAITING_FOR_RESOURCES,
    TaskExecution.RUNNING,
    TaskExecution.SUCCEEDED,
)


@pytest.fixture
def world(world):
    """One in which it takes a while to validate and to run a batch."""
    world.emulator.change(validating=5 * MINUTE, requests_per_second=3 / HOUR)
    return world


def test_task_is_initializing_until_its_first_batch_is_validated(world):
    """A full queue shows itself only then, and RUNNING could not be taken back."""
    node = world.sharded_node(3)
    world.run(node, seconds=4 * MINUTE)
    assert node.console == (INITIALIZING, "OpenAI is validating 3 files")
    world.run(node, seconds=4 * MINUTE)
    assert node.console == (RUNNING, "")
    world.run(node, seconds=2 * HOUR)
    assert node.phases == [INITIALIZING, RUNNING, SUCCEEDED]


def test_task_that_waited_is_shown_running_once_it_runs(world):
    """Its second validation would otherwise have been the last that the console is sent."""
    world.emulator.change(enqueued_tokens=0)
    node = world.sharded_node(2)
    world.run(node, seconds=10 * MINUTE)
    phase, message = node.console
    assert phase == WAITING
    assert message.startswith("waiting: OpenAI's queue is full, and the batch was refused once so far")
    world.emulator.change(enqueued_tokens=None)
    world.run(node, seconds=40 * MINUTE)
    assert node.console == (RUNNING, "")
    world.run(node, seconds=4 * HOUR)
    assert node.phases == [INITIALIZING, WAITING, RUNNING, SUCCEEDED]


@pytest.mark.parametrize("restarts", [False, True])
def test_task_of_which_a_part_waits_is_running(world, restarts):
    """It is; why the rest waits is in its `custom_info` and in the log, whichever replica is asked."""
    world.emulator.change(enqueued_tokens=TOKENS_A_SHARD)
    node = world.sharded_node(3)
    world.run(node, seconds=10 * MINUTE)
    if restarts:
        world.restart(0)
        world.restart(1)
    world.run(node, seconds=20 * MINUTE)
    waiting = world.next_replica().get(node.state.resource_meta).custom_info["waiting"]
    assert (waiting["files"], waiting["reason"][:29]) == (2, "waiting: OpenAI's queue is fu")
    assert "queue is full" in world.log()
    world.run(node, seconds=12 * HOUR)
    assert (node.end, node.phases) == (End.SUCCEEDED, [INITIALIZING, RUNNING, SUCCEEDED])


def test_poll_that_fails_does_not_start_a_task(world):
    """It is taken to be as it was, also before anything is known of it but that it was created."""
    node = world.sharded_node(1)
    world.emulator.order(CallFault(path="/v1/batches/*", status=503, times=None, seconds=2 * MINUTE))
    world.run(node, seconds=2 * HOUR)
    assert node.phases == [INITIALIZING, RUNNING, SUCCEEDED]


def test_single_file_is_running_while_it_is_validated(world):
    """As in the published package."""
    node = world.node()
    world.run(node, seconds=2 * MINUTE)
    assert node.console == (RUNNING, "")
