"""Connections that a server, or a load balancer before it, has forgotten while they were idle between two polls."""

import pytest

from tests.service.propeller import End
from tests.service.world import HOUR, World

POLL_FAILURES = "flyte_connector_openai_poll_failures_total"


@pytest.fixture
def world(nursery):
    world = World(nursery, gated=True)
    yield world
    world.stop()


def test_connection_that_died_while_it_was_idle_fails_no_poll(world):
    """The look-up is sent again at once, on a new connection: nothing is lost by it."""
    world.emulator.change(requests_per_second=3 / HOUR)
    node = world.node()
    world.run(node, seconds=60)
    world.gate.forgetful = True
    world.run(node, seconds=2 * HOUR)
    assert world.gate.forgotten > 10
    assert (node.end, world.metric(POLL_FAILURES, reason="connection")) == (End.SUCCEEDED, 0)
    assert "no connection to" not in world.log()


def test_submission_on_a_dead_connection_is_made_once(world):
    """It is not sent again blindly: OpenAI may have got it before the connection broke."""
    world.run(world.node(), seconds=HOUR)
    world.gate.forgetful = True
    node = world.node()
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"] * 2)
