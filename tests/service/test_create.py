"""Creating is at least once for Flyte; for OpenAI it is once."""

import pytest
from flyteidl.core.execution_pb2 import TaskExecution

from flytekitplugins.openai.emulator import BatchFault, CallFault
from tests.builders import make_requests, upload
from tests.service.propeller import End
from tests.service.world import HOUR, MINUTE

CREATE = {"method": "POST", "path": "/v1/batches"}
LIST = {"method": "GET", "path": "/v1/batches"}


def test_batch_tells_where_it_comes_from(world):
    """The list of batches on OpenAI's platform leads back to the execution."""
    world.propeller.round(world.node(config={"metadata": {"team": "search"}}))
    [batch] = world.batches()
    key = batch.metadata.pop("flyte_key")
    assert batch.metadata == {
        "team": "search",
        "flyte_execution": "f1",
        "flyte_project": "project",
        "flyte_domain": "development",
        "flyte_node": "n0",
        "flyte_task": "workflow.batch",
    }
    assert key.endswith("/0")


def test_forgotten_attempt_is_not_bought_again(world):
    """Flyte keeps a round's state only when the whole round succeeds, and then creates the same attempt again."""
    node = world.node()
    world.propeller.lose_states = 3
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"])


def test_attempt_after_a_lost_reply_takes_over_the_batch(world):
    """Flyte does not delete what an attempt made whose reply it never got."""
    node = world.node(retries=1)
    world.propeller.lose_replies = 1
    world.run(node, seconds=HOUR)
    assert (node.end, node.state.attempt, world.statuses()) == (End.SUCCEEDED, 1, ["completed"])


def test_reply_of_openai_that_is_lost_is_looked_for(world):
    """A request that is sent again after a lost reply makes a second batch."""
    world.emulator.order(CallFault(**CREATE, drop=True, after_work=True))
    node = world.node()
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"])
    assert len([call for call in world.emulator.calls if call.method == "POST" and call.path == "/v1/batches"]) == 1


def test_nodes_of_two_sub_workflows_have_batches_of_their_own(world):
    """They share the execution's id and the node's; only where their outputs go is their own."""
    file_id = upload(world.emulator, make_requests(1))
    prefix = "s3://bucket/metadata/project-development-f/{}/n0/data"
    nodes = [world.node(file_id=file_id, prefix=prefix.format(parent)) for parent in ("n1", "n2")]
    for node in nodes:
        world.run(node, seconds=HOUR)
    assert [node.end for node in nodes] == [End.SUCCEEDED, End.SUCCEEDED]
    assert world.statuses() == ["completed", "completed"]


def test_nothing_is_submitted_while_it_cannot_be_looked_up(world):
    """A look-up that fails does not say that there is no batch."""
    world.propeller.lose_states = 1
    world.emulator.change(requests_per_second=0.001)
    node = world.node()
    world.propeller.round(node)
    world.emulator.order(CallFault(**LIST, status=503, times=None))
    world.run(node, seconds=600)
    world.emulator.clear_faults()
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"])


def test_task_waits_with_a_reason_for_an_openai_that_is_away(world):
    """A task without retries would have failed at the first 503, and one with retries all at once."""
    world.emulator.order(CallFault(status=503, path="/v1/batches*", times=None, seconds=HOUR))
    node = world.node()
    world.run(node, seconds=600)
    phase, message = node.console
    assert phase == TaskExecution.WAITING_FOR_RESOURCES
    assert message == (
        "Not submitted yet; will retry. Could not read the list of batches: "
        "OpenAI is unavailable (503: ordered by the test)."
    )
    world.run(node, seconds=2 * HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"])


def test_attempt_after_an_internal_error_submits_again(world):
    """What failed is not taken over; the file may pass the next time."""
    world.emulator.order(BatchFault(code="internal_error"))
    node = world.node(retries=1)
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["failed", "completed"])


def test_attempt_after_a_timeout_submits_again(world):
    """The batch of the attempt that timed out was cancelled for it."""
    world.emulator.change(requests_per_second=0, cancelling=120)
    node = world.node(retries=1, timeout=HOUR)
    world.run(node, seconds=HOUR)
    world.emulator.change(requests_per_second=0.01)
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["cancelled", "completed"])


def test_two_that_race_leave_one(world):
    """OpenAI may make a batch long after its client gave up: the older one stays."""
    world.emulator.change(requests_per_second=0.01)
    node = world.node(requests=5)
    # It is made, but neither told nor shown yet.
    world.emulator.order(CallFault(**CREATE, drop=True, after_work=True))
    world.emulator.order(CallFault(**LIST, body='{"object": "list", "data": [], "has_more": false}', times=3))
    world.run(node, seconds=HOUR)
    assert world.statuses() == ["completed", "cancelled"]
    assert node.end is End.SUCCEEDED


def make_twin(world):
    """OpenAI makes the one batch there is a second time, long after its client gave up."""
    [first] = world.batches()
    world.client.batches.create(
        input_file_id=first.input_file_id,
        endpoint=first.endpoint,
        completion_window="24h",
        metadata=first.metadata,
    )


def test_batch_that_comes_late_is_cancelled(world):
    """A server may make a batch minutes after its client gave up, when Flyte has long been told of another."""
    world.emulator.change(requests_per_second=0.001)
    node = world.node()
    world.run(node, seconds=5 * MINUTE)
    make_twin(world)
    world.run(node, seconds=2 * HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed", "cancelled"])


def test_batch_that_comes_late_beside_a_quick_one_is_cancelled(world):
    """Once a batch has completed nobody asks about its task any more, so the list is read once more then."""
    world.emulator.change(requests_per_second=0.05)
    node = world.node()
    world.run(node, seconds=30)
    world.emulator.change(requests_per_second=0.0001)
    make_twin(world)
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed", "cancelled"])


def test_twin_that_cannot_be_cancelled_does_not_hide_the_batch(world):
    """The task continues, and the cancel is retried."""
    world.emulator.change(requests_per_second=0.001)
    node = world.node()
    world.emulator.order(CallFault(**CREATE, drop=True, after_work=True))
    world.emulator.order(CallFault(**LIST, body='{"object": "list", "data": [], "has_more": false}', times=3))
    world.emulator.order(CallFault(method="POST", path="*/cancel", status=403, times=2))
    world.run(node, seconds=2 * HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed", "cancelled"])


@pytest.mark.parametrize("retries", [0, 2])
def test_refusal_is_reported_at_once(world, retries):
    """Retrying a permanent refusal is useless."""
    before = world.metric("flyte_connector_openai_refused_tasks_total", reason="400")
    node = world.node(retries=retries, config={"endpoint": "/v1/nothing"})
    world.run(node, seconds=600)
    assert (node.end, node.state.attempt, world.statuses()) == (End.FAILED, 0, [])
    assert node.state.message.startswith("Could not create a batch from file '")
    assert ": OpenAI refused (400 invalid_value: Invalid value: '/v1/nothing'" in node.state.message
    assert world.metric("flyte_connector_openai_refused_tasks_total", reason="400") == before + 1
