"""A poll never fails, and says what happens."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flyteidl.core.execution_pb2 import TaskExecution

from flytekitplugins.openai._metrics import REASONS
from flytekitplugins.openai.emulator import CallFault, RequestFault
from tests.service.propeller import End
from tests.service.replicas import DEADLINE
from tests.service.world import HOUR, MINUTE

POLL = {"method": "GET", "path": "/v1/batches/*"}


@pytest.fixture
def node(world):
    """A node whose batch runs for three hours, and is under way."""
    world.emulator.change(requests_per_second=1 / HOUR)
    node = world.node()
    world.run(node, seconds=20 * MINUTE)
    return node


def test_outage_of_many_polls_costs_none(world, node):
    """Flyte polls an attempt no more after its sixth failed poll."""
    world.emulator.order(CallFault(**POLL, status=503, times=None, seconds=HOUR))
    world.run(node, seconds=4 * HOUR)
    assert (node.end, node.failed_polls) == (End.SUCCEEDED, 0)


def test_half_a_character_does_not_fail_a_poll(world):
    """A message that was cut in the middle of an emoji; gRPC could not carry it."""
    half = r"\ud83d"
    body = f'{{"id": "batch_1", "status": "in_progress", "errors": "oh {half}", "model": "{half}"}}'
    node = world.node()
    world.propeller.round(node)
    world.emulator.order(CallFault(**POLL, body=body, times=None, seconds=HOUR))
    world.run(node, seconds=2 * HOUR)
    assert (node.end, node.failed_polls) == (End.SUCCEEDED, 0)


def test_outage_does_not_change_what_the_console_shows(world, node):
    """It is running, and Flyte shows a new message only with a new phase."""
    world.emulator.order(CallFault(**POLL, status=503, times=None, seconds=HOUR))
    world.run(node, seconds=4 * HOUR)
    assert node.phases == [TaskExecution.RUNNING, TaskExecution.SUCCEEDED]


def test_outage_is_counted_by_its_reason(world, node):
    """An operator is to know before the users do."""
    name = "flyte_connector_openai_poll_failures_total"
    # A look-up whose connection breaks is sent twice.
    reasons = {"429": {"status": 429}, "connection": {"drop": True, "times": 2}, "unreadable": {"body": "<html>"}}
    before = {reason: world.metric(name, reason=reason) for reason in reasons}
    for fault in reasons.values():
        world.emulator.order(CallFault(**POLL, **fault))
        world.propeller.round(node)
    assert {reason: world.metric(name, reason=reason) - before[reason] for reason in reasons} == dict.fromkeys(
        reasons, 1
    )


@pytest.mark.parametrize("verb", ["create", "get", "delete"])
@pytest.mark.parametrize(
    "what", ["poll_failures", "list_failures", "submission_failures", "cancel_failures", "refused_tasks"]
)
def test_counter_is_there_before_anything_fails(world, node, verb, what):
    """A series that begins with its first failure has not grown, as Prometheus sees it."""
    for number in range(len(world.replicas)):
        world.restart(number)
    replica = world.next_replica()
    if verb == "create":
        replica.create(node.template, node.inputs)
    else:
        getattr(replica, verb)(node.state.resource_meta)
    assert world.reasons(f"flyte_connector_openai_{what}_total") == dict.fromkeys(REASONS, 0)


def test_submission_that_is_put_off_is_counted(world):
    """By create, which leaves it to the polls, and by each poll that cannot do it either."""
    name = "flyte_connector_openai_submission_failures_total"
    before = world.metric(name, reason="503")
    world.emulator.order(CallFault(method="POST", path="/v1/batches", status=503, times=3))
    world.run(world.node(), seconds=5 * MINUTE)
    assert world.metric(name, reason="503") == before + 3


def test_outage_is_logged_once(world, node):
    """A day of it would be thousands of lines for each task."""
    world.emulator.order(CallFault(**POLL, status=503, message="logged once", times=None, seconds=HOUR))
    world.run(node, seconds=2 * HOUR)
    lines = [line for line in world.log().splitlines() if "logged once" in line]
    # Once by each replica.
    assert len(lines) == len(world.replicas)
    assert lines[0].startswith("node 'n0' of execution 'f1': Could not look up batch 'batch_")


def test_every_verb_keeps_its_budget(world, node):
    """Flyte cancels a call after 10 s, and a connector that was cut off has said nothing."""
    unborn, young = world.node(), world.node()
    world.propeller.round(young)
    # A delete then waits for three calls, one after the other: it cancels, waits for the page of the list that others
    # began to read before, and reads it again.
    world.emulator.change(cancelling=HOUR)
    world.emulator.order(CallFault(delay=3.0, times=None))

    def timed(call, *arguments, **keywords):
        begins_at = time.monotonic()
        call(*arguments, **keywords)
        return time.monotonic() - begins_at

    replica = world.next_replica()
    with ThreadPoolExecutor() as threads:
        deleting = threads.submit(timed, replica.delete, node.state.resource_meta)
        # Half of its first call: the others begin to read before it, and are not done.
        time.sleep(1.5)
        calls = [
            deleting,
            threads.submit(timed, replica.create, unborn.template, unborn.inputs, output_prefix=f"{unborn.prefix}/0"),
            threads.submit(timed, replica.get, young.state.resource_meta),
        ]
        taken = [call.result() for call in calls]
    world.emulator.clear_faults()
    assert 7 < max(taken) < DEADLINE


def test_metrics_tell_requests_and_tokens(world):
    """In the form of a Prometheus range query, as Flyte's interface has it."""
    world.emulator.order(RequestFault(custom_id="r-1", status=400))
    node = world.node(requests=3)
    world.propeller.round(node)
    results = {result.metric: result.data for result in world.next_replica().get_metrics(node.state.resource_meta)}
    requests = {
        series["metric"]["state"]: series["values"][0][1] for series in results["openai_batch_requests"]["result"]
    }
    tokens = {
        series["metric"]["kind"]: float(series["values"][0][1]) for series in results["openai_batch_tokens"]["result"]
    }
    assert requests == {"total": "3", "completed": "2", "failed": "1"}
    assert tokens["total"] == tokens["input"] + tokens["output"] > 0


def test_metadata_holds_no_secret(world, node):
    """Flyte logs it in clear."""
    metadata = json.loads(node.state.resource_meta)
    assert set(metadata) == {"openai_org", "batch_id", "request", "created_at"}
    assert b"sk-operator" not in node.state.resource_meta
