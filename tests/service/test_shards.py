"""A task of many batches behaves as one task, towards Flyte, OpenAI and the user."""

from collections import Counter

import pytest
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import Literal

from flytekitplugins.openai.emulator import BatchFault, CallFault
from flytekitplugins.openai.emulator.exchange import enqueued_tokens
from tests.builders import make_request, make_requests
from tests.service.propeller import End
from tests.service.world import HOUR, MINUTE

CREATE = {"method": "POST", "path": "/v1/batches"}
WAITING, RUNNING, SUCCEEDED = (
    TaskExecution.WAITING_FOR_RESOURCES,
    TaskExecution.RUNNING,
    TaskExecution.SUCCEEDED,
)
# What the emulator counts for three requests of `make_requests`.
TOKENS_A_SHARD = 3 * enqueued_tokens(make_request()["body"])


def batches_in(node):
    """What the node hands on to the collect step."""
    literal = Literal.from_flyte_idl(node.outputs.literals["result"])
    return TypeEngine.to_python_value(FlyteContextManager.current_context(), literal, dict)["batches"]


def files_of(node):
    return [
        literal.scalar.primitive.string_value for literal in node.inputs.literals["input_file_ids"].collection.literals
    ]


def live(world):
    return [batch for batch in world.batches() if batch.status not in ("completed", "failed", "expired", "cancelled")]


def test_each_file_runs_as_a_batch(world):
    """The outputs are in the order of the files."""
    node = world.sharded_node(5)
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"] * 5)
    assert [batch["input_file_id"] for batch in batches_in(node)] == files_of(node)
    assert all(batch["output_file_id"] for batch in batches_in(node))


def test_task_without_files_has_succeeded(world):
    """There may be nothing worth running again."""
    node = world.sharded_node(0)
    world.run(node, seconds=HOUR)
    assert (node.end, batches_in(node), world.batches()) == (End.SUCCEEDED, [], [])


def test_progress_is_that_of_all_batches(world):
    """In batches and in requests."""
    world.emulator.change(requests_per_second=0.01)
    node = world.sharded_node([make_requests(1), make_requests(5)])
    world.run(node, seconds=3 * MINUTE)
    resource = world.next_replica().get(node.state.resource_meta)
    assert resource.message == "in progress: 1 of 2 batches done, 2 of 6 requests"


def test_full_queue_is_filled_as_it_empties(world):
    """Ten batches with room for two: none fails for it, and few are refused."""
    world.emulator.change(enqueued_tokens=2 * TOKENS_A_SHARD, requests_per_second=0.01)
    node = world.sharded_node(10)
    world.run(node, seconds=10 * HOUR)
    assert (node.end, node.state.attempt) == (End.SUCCEEDED, 0)
    assert Counter(world.statuses())["completed"] == 10
    # Each of the eight tried again every minute would be two hundred.
    assert len(world.batches()) <= 40
    # The first two ran from the first poll on; that others waited later does not stay on the screen.
    assert node.phases == [RUNNING, SUCCEEDED]


def test_queue_that_others_have_filled_is_tried_with_one_batch(world):
    """After the first refusals, the waits are those of a single batch."""
    world.emulator.change(enqueued_tokens=0)
    node = world.sharded_node(10)
    world.run(node, seconds=HOUR)
    # Ten at first, and then one after 1, 3, 7, 15 and 31 minutes.
    assert len(world.batches()) == 15
    world.emulator.change(enqueued_tokens=None)
    world.run(node, seconds=2 * HOUR)
    assert node.end is End.SUCCEEDED
    assert node.phases == [WAITING, RUNNING, SUCCEEDED]
    assert node.events[0].message.startswith("waiting: OpenAI's queue is full, and the batch was refused once so far")


def test_no_more_run_at_once_than_the_task_allows(world):
    """It may have to leave room for others."""
    world.emulator.change(requests_per_second=0.01)
    node = world.sharded_node(5, max_concurrent_batches=2)
    most = 0
    while node.end is None:
        world.run(node, seconds=30)
        most = max(most, len(live(world)))
    assert (node.end, most, world.statuses()) == (End.SUCCEEDED, 2, ["completed"] * 5)


def test_too_many_creations_are_waited_out_while_others_run(world):
    """OpenAI takes so many an hour, and says when there is room again."""
    world.emulator.change(batches_per_hour=4)
    node = world.sharded_node(10)
    world.run(node, seconds=4 * HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"] * 10)
    refused = [call for call in world.emulator.calls if call.method == "POST" and call.status == 429]
    assert len(refused) <= 4


@pytest.mark.long
def test_submission_goes_on_in_the_next_poll_when_time_is_up(world):
    """A call has eight seconds, and a hundred batches take longer to make."""
    world.emulator.order(CallFault(**CREATE, delay=2.5, times=3))
    node = world.sharded_node(6)
    world.propeller.round(node)
    assert len(world.batches()) == 2
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"] * 6)


def test_lost_reply_does_not_buy_a_shard_twice(world):
    """Whichever of the shards it befalls."""
    world.emulator.order(CallFault(**CREATE, drop=True, after_work=True, times=1, skip=2))
    node = world.sharded_node(5)
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"] * 5)


@pytest.mark.parametrize("fault", [{"lose_states": 2}, {"lose_replies": 1}])
def test_create_again_finds_the_batches_of_the_first(world, fault):
    """Each file's."""
    world.emulator.change(requests_per_second=0.01)
    vars(world.propeller).update(fault)
    node = world.sharded_node(4, retries=1)
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"] * 4)


@pytest.mark.long
def test_restarts_at_any_time_lose_nothing_and_buy_nothing_twice(world):
    """All that is needed is in the metadata and in OpenAI's list."""
    world.emulator.change(enqueued_tokens=3 * TOKENS_A_SHARD, requests_per_second=0.01)
    node = world.sharded_node(8)
    while node.end is None and world.kills < 200:
        world.run(node, seconds=2 * MINUTE)
        world.restart(0)
        world.restart(1)
    completed = [batch.input_file_id for batch in world.batches() if batch.status == "completed"]
    assert node.end is End.SUCCEEDED
    assert sorted(completed) == sorted(files_of(node))


def test_trouble_of_one_batch_is_not_that_of_the_task(world):
    """The others are asked about all the same."""
    world.emulator.change(requests_per_second=0.01)
    node = world.sharded_node(3)
    world.propeller.round(node)
    first = world.batches()[0].id
    world.emulator.order(CallFault(path=f"/v1/batches/{first}", status=503, times=20))
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"] * 3)


def test_batch_that_is_refused_leaves_the_others(world):
    """Their results are paid for; the error of the refused one is passed on."""
    contents = [make_requests(3), [make_request("a"), make_request("a")], make_requests(3)]
    node = world.sharded_node(contents)
    world.run(node, seconds=HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed", "failed", "completed"])
    [error] = batches_in(node)[1]["errors"]["data"]
    assert (error["code"], error["line"]) == ("duplicate_custom_id", 2)


def test_task_of_which_all_batches_are_refused_has_failed(world):
    """The first reason is the message."""
    node = world.sharded_node([[make_request("a"), make_request("a")]] * 3)
    world.run(node, seconds=HOUR)
    assert node.end is End.FAILED
    assert node.state.message.startswith(
        "none of the 3 batches has results; the first: 1 error: line 2: duplicate_custom_id:"
    )


def test_tolerant_task_of_which_all_batches_are_refused_has_succeeded(world):
    """Another round may make it good, and earlier ones are not thrown away."""
    node = world.sharded_node([[make_request("a"), make_request("a")]] * 2, tolerant=True)
    world.run(node, seconds=HOUR)
    assert (node.end, [batch["status"] for batch in batches_in(node)]) == (End.SUCCEEDED, ["failed", "failed"])


def test_batches_that_expire_keep_what_they_finished(world):
    """It has been paid for."""
    world.emulator.change(requests_per_second=2 / (24 * HOUR))
    node = world.sharded_node(2, requests=4)
    world.run(node, seconds=25 * HOUR, every=600)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["expired", "expired"])
    assert all(batch["output_file_id"] for batch in batches_in(node))


def test_failure_of_openais_own_is_made_good_three_times(world):
    """Without a new attempt, which would stop the others."""
    node = world.sharded_node(3)
    second = files_of(node)[1]
    world.emulator.order(BatchFault(code="internal_error", input_file_id=second, times=3))
    world.run(node, seconds=HOUR)
    assert (node.end, node.state.attempt) == (End.SUCCEEDED, 0)
    assert Counter(world.statuses()) == {"completed": 3, "failed": 3}


def test_failure_of_openais_own_that_lasts_leaves_the_others(world):
    """Three times is enough."""
    node = world.sharded_node(3)
    second = files_of(node)[1]
    world.emulator.order(BatchFault(code="internal_error", input_file_id=second, times=None))
    world.run(node, seconds=2 * HOUR)
    assert node.end is End.SUCCEEDED
    assert Counter(world.statuses()) == {"completed": 2, "failed": 4}


def test_refusal_to_make_more_batches_leaves_those_there_are(world):
    """A bill may come due between two of them."""
    world.emulator.change(requests_per_second=0.01)
    node = world.sharded_node(3)
    third = files_of(node)[2]
    world.emulator.order(
        CallFault(**CREATE, status=400, code="billing_hard_limit_reached", message="no", skip=2, times=None)
    )
    world.run(node, seconds=2 * HOUR)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed", "completed"])
    refused = batches_in(node)[2]
    assert (refused["id"], refused["input_file_id"]) == (None, third)
    assert "billing_hard_limit_reached: no" in refused["errors"]["data"][0]["message"]
    posts = [call for call in world.emulator.calls if (call.method, call.path) == ("POST", "/v1/batches")]
    assert len(posts) < 10


def test_abort_cancels_every_batch(world):
    """A delete while OpenAI is unavailable is completed later."""
    world.emulator.change(requests_per_second=0.0001)
    node = world.sharded_node(5)
    world.run(node, seconds=MINUTE)
    world.emulator.order(CallFault(method="POST", path="/v1/batches/*/cancel", status=503, times=7))
    world.propeller.abort(node)
    world.propeller.round(node)
    world.wait_until(lambda: world.statuses() == ["cancelled"] * 5)
    assert (node.end, world.statuses()) == (End.ABORTED, ["cancelled"] * 5)


def test_batch_that_is_cancelled_for_an_earlier_attempt_is_made_anew(world):
    """A cancel that failed goes on in the background, and may come when the next attempt has adopted the batch."""
    world.emulator.change(requests_per_second=0.001)
    node = world.sharded_node(3, retries=1)
    world.propeller.lose_replies = 1
    # Until nobody looks for a twin of the batches any more.
    world.run(node, seconds=20 * MINUTE)
    first = world.batches()[0]
    assert (len(world.batches()), node.state.attempt) == (3, 1)
    world.client.batches.cancel(first.id)
    world.run(node, seconds=3 * HOUR)
    assert (node.end, Counter(world.statuses())) == (End.SUCCEEDED, {"completed": 3, "cancelled": 1})
    assert first.id not in {batch["id"] for batch in batches_in(node)}


def test_twins_of_two_replicas_become_one(world):
    """Two that create the same at once do not see each other's batches."""
    nothing = '{"object": "list", "data": [], "has_more": false}'
    world.emulator.change(requests_per_second=0.001)
    world.emulator.order(CallFault(method="GET", path="/v1/batches", body=nothing, times=2))
    node = world.sharded_node(3)
    world.propeller.lose_states = 1
    world.propeller.round(node)
    world.propeller.round(node)
    assert len(world.batches()) == 6
    world.run(node, seconds=2 * HOUR)
    assert (node.end, Counter(world.statuses())) == (End.SUCCEEDED, {"completed": 3, "cancelled": 3})


def test_metrics_are_those_of_all_batches(world):
    """Flyte asks for them with the metadata alone."""
    node = world.sharded_node(3)
    world.propeller.round(node)
    for _ in range(2):
        results = world.next_replica().get_metrics(node.state.resource_meta)
    assert {result.metric for result in results} == {"openai_batch_requests", "openai_batch_tokens"}


def test_batches_that_only_the_list_names_are_not_given_up_as_new_files(world):
    """OpenAI may answer 404 for a batch for two hours, for a file that it is to run for ten minutes."""
    node = world.sharded_node(2)
    world.propeller.lose_states = 1
    world.propeller.round(node)
    world.emulator.order(CallFault(method="GET", path="/v1/batches", status=503, times=None, seconds=MINUTE))
    world.propeller.round(node)
    world.restart(0)
    world.restart(1)
    world.emulator.order(CallFault(method="GET", path="/v1/batches/*", status=404, times=None, seconds=HOUR))
    for _ in range(8):
        world.advance(10 * MINUTE)
        world.propeller.round(node)
    assert (node.end, world.statuses()) == (End.SUCCEEDED, ["completed"] * 2)
