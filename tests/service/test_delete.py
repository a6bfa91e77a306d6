"""Aborting ends what runs, and never the workflow."""

import pytest

from flytekitplugins.openai.emulator import CallFault
from tests.builders import make_requests, upload_with
from tests.service.propeller import End
from tests.service.world import CANCEL_FAILURES, HOUR

CREATE = {"method": "POST", "path": "/v1/batches"}
CANCEL = {"method": "POST", "path": "/v1/batches/*/cancel"}
LIST = {"method": "GET", "path": "/v1/batches"}
NOTHING = '{"object": "list", "data": [], "has_more": false}'


@pytest.fixture(autouse=True)
def slow_batches(world):
    world.emulator.change(requests_per_second=0.0001)


def aborted(world, node):
    """The node, after its execution was aborted."""
    world.propeller.abort(node)
    world.propeller.round(node)
    return node


def test_abort_cancels_the_batch(world):
    """An aborted execution costs nothing more."""
    node = world.node()
    world.run(node, seconds=60)
    assert (aborted(world, node).end, world.statuses()) == (End.ABORTED, ["cancelled"])


def test_abort_cancels_what_a_forgotten_attempt_made(world):
    """Two that OpenAI had not shown yet when the other was made; both are the node's."""
    node = world.node(retries=1)
    world.emulator.order(CallFault(**LIST, body=NOTHING, times=2))
    world.propeller.lose_replies = 1
    world.propeller.round(node)
    world.propeller.round(node)
    assert world.statuses() == ["in_progress", "in_progress"]
    assert aborted(world, node).end is End.ABORTED
    assert world.statuses() == ["cancelled", "cancelled"]


def test_abort_leaves_another_nodes_batch_alone(world):
    """Even of the same file."""
    file_id = upload_with(world.client, make_requests(1))
    nodes = [world.node(file_id=file_id) for _ in range(2)]
    for node in nodes:
        world.run(node, seconds=60)
    aborted(world, nodes[0])
    assert world.statuses() == ["cancelled", "in_progress"]


def test_late_delete_leaves_the_next_attempt_alone(world):
    """Flyte may repeat the delete of an attempt after the next one has begun."""
    node = world.node(retries=1, timeout=HOUR)
    world.propeller.round(node)
    first = node.state.resource_meta
    world.run(node, seconds=2 * HOUR, every=1000)
    world.propeller.round(node)
    world.next_replica().delete(first)
    assert world.statuses() == ["cancelled", "in_progress"]


def test_abort_of_what_is_over_does_nothing(world):
    """OpenAI answers 409, and an error would fail the workflow's rounds until it is killed."""
    world.emulator.change(requests_per_second=1)
    node = world.node()
    world.propeller.round(node)
    world.advance(60)
    assert (aborted(world, node).end, world.statuses()) == (End.ABORTED, ["completed"])


def test_abort_of_what_was_never_submitted_does_nothing(world):
    """There is nothing to cancel, and nothing comes into being afterwards."""
    world.emulator.order(CallFault(**CREATE, status=503))
    node = world.node()
    world.propeller.round(node)
    assert (aborted(world, node).end, world.statuses()) == (End.ABORTED, [])


def test_abort_while_openai_is_away_is_made_good(world):
    """The workflow ends at once, and the batch as soon as OpenAI can be asked."""
    node = world.node()
    world.run(node, seconds=60)
    world.emulator.order(CallFault(path="/v1/batches*", status=503, times=None))
    assert (aborted(world, node).end, node.failed_rounds) == (End.ABORTED, 0)
    world.emulator.clear_faults()
    world.wait_until(lambda: world.statuses() == ["cancelled"])
    assert world.statuses() == ["cancelled"]


def test_refused_delete_is_counted(world):
    """An operator can alert on batches that keep running after an abort."""
    node = world.node()
    world.run(node, seconds=60)
    world.emulator.order(CallFault(**CANCEL, status=401, times=1))
    before = world.metric(CANCEL_FAILURES, reason="401")
    aborted(world, node)
    assert world.metric(CANCEL_FAILURES, reason="401") == before + 1
