"""What a task survives of Flyte's own making, as `propeller.py` has it."""

from flyteidl.core.execution_pb2 import TaskExecution

from flytekitplugins.openai.emulator import BatchFault
from tests.service.propeller import MAX_POLL_FAILURES, End
from tests.service.world import HOUR, MINUTE


def test_task_that_flyte_polls_no_more_is_revived_by_a_restart(world):
    """Six polls that met no connector, in the whole life of the attempt, are enough; the batch is not lost."""
    world.emulator.change(requests_per_second=3 / HOUR)
    node = world.node()
    world.run(node, seconds=MINUTE)
    world.propeller.lose_connector(5 * MINUTE)
    world.run(node, seconds=3 * HOUR)
    assert (node.end, node.console[0], world.statuses()) == (None, TaskExecution.RUNNING, ["completed"])
    assert (world.propeller.is_polled(node), node.failed_polls) == (False, MAX_POLL_FAILURES + 1)
    world.propeller.restart()
    world.run(node, seconds=MINUTE)
    assert node.end is End.SUCCEEDED


def test_task_that_was_never_polled_leaves_a_batch_that_the_next_run_of_it_finds(world):
    """Flyte fails it, and deletes nothing: the batch runs on, and is billed."""
    world.emulator.change(requests_per_second=3 / HOUR)
    node = world.node()
    world.propeller.round(node)
    world.propeller.lose_connector(5 * MINUTE)
    world.run(node, seconds=10 * MINUTE)
    assert (node.end, node.deletions, world.statuses()) == (End.FAILED, 0, ["in_progress"])


def test_tasks_fail_while_no_connector_answers_and_some_time_after(world):
    """Each create is an attempt, and they follow at once."""
    node = world.node(retries=2)
    world.propeller.lose_connector(45)
    world.advance(60)
    for _ in range(3):
        world.propeller.round(node)
    assert (node.end, node.state.attempt, world.batches()) == (End.FAILED, 2, [])


def test_task_waits_for_a_connector_that_is_being_restarted(world):
    """With `waitForReady` in the settings of the operator's page."""
    world.propeller.wait_for_ready = True
    node = world.node()
    world.propeller.lose_connector(9)
    world.run(node, seconds=HOUR)
    assert (node.end, node.state.attempt) == (End.SUCCEEDED, 0)


def test_failure_that_may_pass_is_deleted_only_before_another_attempt(world):
    """The batch is over, and there is nothing to cancel; nor does Flyte ask for it after the last attempt."""
    world.emulator.order(BatchFault(code="internal_error", times=2))
    node = world.node(retries=1)
    world.run(node, seconds=HOUR)
    assert (node.end, node.deletions, world.statuses()) == (End.FAILED, 1, ["failed", "failed"])
