"""A full queue at OpenAI's is waited out."""

import pytest
from flyteidl.core.execution_pb2 import TaskExecution

from flytekitplugins.openai.emulator import BatchFault, CallFault
from tests.service.propeller import End
from tests.service.world import HOUR, MINUTE

CREATE = {"method": "POST", "path": "/v1/batches"}
WAITING, RUNNING, SUCCEEDED = (
    TaskExecution.WAITING_FOR_RESOURCES,
    TaskExecution.RUNNING,
    TaskExecution.SUCCEEDED,
)


def minutes_of_submissions(world, begins_at):
    return [round((batch.created_at - begins_at) / MINUTE) for batch in world.batches()]


def test_full_queue_is_waited_out(world):
    """The user sees why it waits, and it runs later without any action."""
    world.emulator.change(enqueued_tokens=0, requests_per_second=0.001)
    node = world.node()
    world.run(node, seconds=HOUR)
    world.emulator.change(enqueued_tokens=None)
    world.run(node, seconds=2 * HOUR)
    assert (node.end, world.statuses()[-1]) == (End.SUCCEEDED, "completed")
    assert set(world.statuses()[:-1]) == {"failed"}
    assert node.phases == [WAITING, RUNNING, SUCCEEDED]
    assert node.events[0].message == (
        "waiting: OpenAI's queue is full, and the batch was refused once so far (Enqueued token limit reached for "
        "gpt-4o-mini in organization org-emulator. Limit: 0 enqueued tokens. Please try again once some in_progress "
        "batches have been completed.); it will be submitted again"
    )


@pytest.mark.long
def test_waits_grow_to_half_an_hour(world):
    """After 1, 2, 4, ... minutes, by the number of refusals that OpenAI itself remembers."""
    world.emulator.change(enqueued_tokens=0)
    node, begins_at = world.node(), world.emulator.now()
    world.run(node, seconds=3 * HOUR)
    assert minutes_of_submissions(world, begins_at) == [0, 1, 3, 7, 15, 31, 61, 91, 121, 151]


@pytest.mark.long
def test_wait_goes_on_after_a_restart(world):
    """All that is needed is in the metadata that Flyte keeps and in OpenAI's list."""
    world.emulator.change(enqueued_tokens=0)
    node, begins_at = world.node(), world.emulator.now()
    for _ in range(20):
        world.run(node, seconds=MINUTE, every=MINUTE)
        world.restart(0)
        world.restart(1)
    assert minutes_of_submissions(world, begins_at) == [0, 1, 3, 7, 15]


def test_file_that_is_not_found_yet_is_submitted_again(world):
    """A new file can be invisible for a moment, and OpenAI says itself that it is there."""
    fault = {"code": "invalid_request", "param": "file_id", "message": "Cannot find file"}
    world.emulator.order(BatchFault(**fault, times=2))
    node = world.node()
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["failed", "failed", "completed"])


@pytest.mark.parametrize("shards", [None, 2])
def test_file_that_is_there_and_is_never_found_is_openais_fault(world, shards):
    """Four batches that cannot find it are proof enough; no key is blamed, and another attempt may fare better."""
    fault = {"code": "invalid_request", "param": "file_id", "message": "Cannot find file file-1."}
    world.emulator.order(BatchFault(**fault, times=4 * (shards or 1)))
    node = world.sharded_node(shards, retries=1) if shards else world.node(retries=1)
    world.run(node, seconds=3 * HOUR)
    assert (node.end, node.state.attempt) == (End.SUCCEEDED, 1)
    [failure] = [event for event in node.events if event.phase == TaskExecution.RETRYABLE_FAILED]
    assert "Cannot find file file-1. OpenAI's Files API has this file, so the fault is OpenAI's" in failure.message
    assert "The batch was created with the key" not in failure.message


def test_file_of_another_project_is_reported_at_once(world):
    """OpenAI does not show the file to this key, now or later."""
    node = world.node(file_id="file-elsewhere")
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.FAILED, ["failed"])
    assert "The batch was created with the key from secret 'FLYTE_OPENAI_API_KEY'" in node.state.message


def test_too_many_creations_are_waited_out(world):
    """OpenAI takes 2,000 batches an hour, and says when there is room again."""
    world.emulator.change(batches_per_hour=1)
    nodes = [world.node(), world.node()]
    for node in nodes:
        world.run(node, seconds=2 * HOUR)
    assert [node.end for node in nodes] == [End.SUCCEEDED, End.SUCCEEDED]
    assert world.statuses() == ["completed", "completed"]


def test_queue_of_a_compatible_server_is_waited_out(world):
    """Azure refuses the request itself, and leaves no batch to count."""
    world.emulator.order(CallFault(**CREATE, status=400, code="token_limit_exceeded", times=3))
    node = world.node()
    world.run(node, seconds=HOUR)
    assert (node.end, node.phases[0]) == (End.SUCCEEDED, WAITING)
    refused = [call for call in world.emulator.calls if call.method == "POST" and call.status == 400]
    assert len(refused) == 3
