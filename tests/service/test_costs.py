"""Small queues, costs that are known before, and results that are paid for once."""

from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from flytekitplugins.openai.batch.container import past_batches
from flytekitplugins.openai.batch.requests import shards
from flytekitplugins.openai.batch.requests.shards import Limits
from flytekitplugins.openai.emulator import BatchFault, CallFault, RequestFault
from flytekitplugins.openai.exceptions import InvalidInputError
from tests.builders import make_request, make_requests
from tests.service.workflow_run import NodeFailedError, ids_in, start
from tests.service.world import HOUR, MINUTE

pytestmark = pytest.mark.usefixtures("containers")
WEEK = timedelta(days=7)
# Ten requests of about 500 tokens, and a queue of about four.
QUEUE = 2_200


@pytest.fixture
def whole_files(containers, monkeypatch):
    """As many requests in a file as OpenAI takes."""
    monkeypatch.setattr(shards, "Limits", Limits)


def long_request(number, *, words=500, **fields):
    return make_request(f"r-{number}", content="word " * (words - 1) + "end", **fields)


def long_requests(count, **fields):
    return [long_request(number, **fields) for number in range(count)]


def refusals(world):
    errors = [error for batch in world.batches() if batch.errors for error in batch.errors.data]
    return sum(error.code == "token_limit_exceeded" for error in errors)


def page_of(result):
    return " ".join(Path(result.report.download()).read_text().split())


# The queue


@pytest.mark.usefixtures("whole_files")
def test_batch_that_is_larger_than_the_queue_runs_in_parts(world, requests_file):
    """Nothing is refused, because only what fits is submitted."""
    world.emulator.change(enqueued_tokens=QUEUE, requests_per_second=0.01)
    run = start(world, enqueued_token_limit=QUEUE)
    result = run.run(requests_file(long_requests(10)), every=60)
    assert ids_in(result.output_file) == [f"r-{number}" for number in range(10)]
    assert world.statuses() == ["completed"] * 3
    [node] = run.batch_nodes.values()
    assert any("for room in the queue of 'gpt-4o-mini', which holds 2,200 tokens" in e.message for e in node.events)


@pytest.mark.usefixtures("whole_files")
def test_queue_that_nobody_told_is_learnt(world, requests_file):
    """The refusal names it, and the next round uploads the requests again, in files that fit."""
    world.emulator.change(enqueued_tokens=QUEUE, requests_per_second=0.01)
    result = start(world, max_resubmissions=1).run(requests_file(long_requests(10)), every=60)
    assert (result.succeeded, result.failed) == (10, 0)
    assert Counter(world.statuses()) == {"failed": 1, "completed": 3}


@pytest.mark.usefixtures("whole_files")
def test_batch_that_can_never_run_fails_in_minutes(world, requests_file):
    """It says why, and what to do."""
    world.emulator.change(enqueued_tokens=QUEUE)
    begun = world.emulator.now()
    with pytest.raises(NodeFailedError) as raised:
        start(world).run(requests_file(long_requests(10)), every=60)
    assert str(raised.value).endswith(
        "tokens, and can never run, because the queue of 'gpt-4o-mini' holds 2,200: set enqueued_token_limit=2200 for "
        "smaller files, or max_resubmissions=1"
    )
    assert world.emulator.now() - begun <= 10 * MINUTE


@pytest.mark.usefixtures("whole_files")
def test_each_model_has_its_own_queue(world, requests_file):
    """A full one holds up nothing else."""
    limits = {"small": QUEUE, "large": 2 * QUEUE}
    world.emulator.change(enqueued_tokens=limits, requests_per_second=0.01)
    requests = [long_request(number, model=["small", "large"][number % 2]) for number in range(20)]
    result = start(world, enqueued_token_limit=limits).run(requests_file(requests), every=60)
    assert ids_in(result.output_file) == [f"r-{number}" for number in range(20)]
    assert (refusals(world), Counter(batch.model for batch in world.batches())) == (0, {"small": 3, "large": 2})


@pytest.mark.usefixtures("whole_files")
def test_two_workflows_share_a_queue(world, requests_file):
    """Each waits for the other, and both end well."""
    world.emulator.change(enqueued_tokens=QUEUE, requests_per_second=0.01)
    other = world.sharded_node([long_requests(4)] * 3, max_concurrent_batches=1)
    world.run(other, seconds=2 * MINUTE)
    result = start(world, enqueued_token_limit=QUEUE).run(requests_file(long_requests(10)), every=60)
    world.run(other, seconds=24 * HOUR)
    assert (result.succeeded, other.end.name) == (10, "SUCCEEDED")


@pytest.mark.usefixtures("whole_files")
@pytest.mark.parametrize("restarts", [False, True])
def test_queue_may_shrink_while_it_is_used(world, requests_file, monkeypatch, restarts):
    """What became too large is uploaded again in smaller files, by whichever replica learns of it."""
    world.emulator.change(enqueued_tokens=QUEUE, requests_per_second=0.01)
    run = start(world, enqueued_token_limit=QUEUE, max_resubmissions=1)
    advance = world.advance

    def shrink(seconds):
        advance(seconds)
        if [batch for batch in world.batches() if batch.status == "completed"]:
            world.emulator.change(enqueued_tokens=QUEUE // 2)
            if restarts and not world.kills:
                world.restart(0)
                world.restart(1)

    monkeypatch.setattr(world, "advance", shrink)
    result = run.run(requests_file(long_requests(10)), every=60)
    assert (result.succeeded, result.failed) == (10, 0)


def test_request_that_is_larger_than_the_queue_is_refused_before_it_is_sent(world, requests_file):
    """By its line."""
    with pytest.raises(
        InvalidInputError, match=r"line 1 is more than a batch can take \(5\d\d tokens, and of the queue"
    ):
        start(world, enqueued_token_limit=300).run(requests_file(long_requests(1)))
    assert list(world.client.files.list()) == []


@pytest.mark.long
@pytest.mark.usefixtures("whole_files")
@pytest.mark.parametrize(
    ("arguments", "refused"), [({"enqueued_token_limit": 2_000_000}, 0), ({"max_resubmissions": 1}, 1)]
)
def test_full_file_goes_through_a_small_queue(world, requests_file, arguments, refused):
    """Fifty thousand requests of three hundred tokens, and a queue of two million, as a new account has it."""
    world.emulator.change(enqueued_tokens=2_000_000, requests_per_second=100)
    run = start(world, **arguments)
    result = run.run(requests_file(long_requests(50_000, words=295)), every=300)
    assert (result.requests, result.succeeded) == (50_000, 50_000)
    assert (refusals(world), Counter(world.statuses())["completed"]) == (refused, 8)


# The cost


def test_input_that_may_cost_too_much_leaves_nothing_at_openai(world, requests_file):
    """Not even a file, though several were full before it was known."""
    pytest.importorskip("genai_prices")
    requests = [{**r, "body": {**r["body"], "max_tokens": 1_000}} for r in long_requests(100)]
    with pytest.raises(InvalidInputError) as raised:
        start(world, max_cost_usd=0.02).run(requests_file(requests))
    assert "its 100 requests may cost $0.03, which is $0.01 more than max_cost_usd=0.02" in str(raised.value)
    assert list(world.client.files.list()) == []
    assert world.batches() == []


def test_report_has_the_estimate_beside_what_it_cost(world, requests_file, capfd):
    """And the price of the same without batches."""
    pytest.importorskip("genai_prices")
    requests = [{**r, "body": {**r["body"], "max_tokens": 1_000}} for r in long_requests(4)]
    page = page_of(start(world, max_cost_usd=1).run(requests_file(requests)))
    assert "At most, as known before" in page
    assert "Before it was submitted" in page
    assert "One by one, the same requests would have cost $" in page
    assert "4 requests uploaded, in 2 files (" in capfd.readouterr().err


# Paying once


def test_same_input_is_paid_for_once(world, requests_file):
    """The second run makes no batch, and gives the same answers."""
    requests = requests_file(make_requests(7))
    first = start(world, reuse_results_within=WEEK).run(requests)
    calls = len(world.batches())
    second = start(world, reuse_results_within=WEEK).run(requests)
    assert (calls, len(world.batches())) == (3, 3)
    assert Path(second.output_file.download()).read_bytes() == Path(first.output_file.download()).read_bytes()
    assert (second.requests, second.succeeded) == (7, 7)
    assert "The results of 3 files were those of an earlier run, and cost nothing." in page_of(second)
    assert "$0.00" in page_of(second)
    assert "earlier run" not in page_of(first)


def test_changed_line_costs_its_own_file(world, requests_file):
    """The others are reused, and everything is in its order."""
    requests = make_requests(9)
    start(world, reuse_results_within=WEEK).run(requests_file(requests))
    requests[4] = make_request("r-4", content="What is three and three?")
    result = start(world, reuse_results_within=WEEK).run(requests_file(requests))
    assert ids_in(result.output_file) == [f"r-{number}" for number in range(9)]
    assert len(world.batches()) == 3 + 1
    assert "The results of 2 files were those of an earlier run, and cost nothing." in page_of(result)


def test_nothing_is_reused_unless_it_is_asked_for(world, requests_file):
    """The same question may get another answer."""
    requests = requests_file(make_requests(3))
    start(world, reuse_results_within=WEEK).run(requests)
    start(world, "other").run(requests)
    # Nor what was made without the argument.
    assert len(world.batches()) == 2
    metadata = [set(batch.metadata) & {"flyte_lines"} for batch in world.batches()]
    assert sorted(map(len, metadata)) == [0, 1]


@pytest.mark.long
@pytest.mark.parametrize(
    "what",
    ["another account", "another endpoint", "another model", "an old batch", "a lost file", "failures", "no list"],
)
def test_what_is_not_certainly_the_same_is_run(world, requests_file, monkeypatch, what):
    """Of another account, endpoint or model, too old, without its file, or not wholly answered."""
    monkeypatch.setattr(past_batches, "time", SimpleNamespace(time=world.emulator.now))
    if what == "failures":
        world.emulator.order(RequestFault(custom_id="r-1", status=400, code="invalid_value"))
    requests, arguments = make_requests(3), {}
    start(world, reuse_results_within=WEEK, min_success_ratio=0.1).run(requests_file(requests))
    if what == "another account":
        arguments["openai_project"] = "proj_other"
    elif what == "another endpoint":
        arguments["config"] = {"endpoint": "/v1/responses"}
        body = {"model": "gpt-4o-mini", "input": "Hi"}
        requests = [{**request, "url": "/v1/responses", "body": body} for request in requests]
    elif what == "another model":
        requests = [make_request(request["custom_id"], model="gpt-4o") for request in requests]
    elif what == "an old batch":
        world.advance(8 * 24 * HOUR)
    elif what == "a lost file":
        [batch] = world.batches()
        world.client.files.delete(batch.output_file_id)
    elif what == "no list":
        world.emulator.order(CallFault(method="GET", path="/v1/batches", status=500, times=10))
    result = start(world, "other", reuse_results_within=WEEK, **arguments).run(requests_file(requests))
    made = [call for call in world.emulator.calls if (call.method, call.path) == ("POST", "/v1/batches")]
    assert (result.succeeded, len(made)) == (3, 2)


def test_files_of_an_earlier_run_are_left_to_it(world, requests_file):
    """They may be reused once more."""
    requests = requests_file(make_requests(3))
    start(world, reuse_results_within=WEEK).run(requests)
    files = {file.id for file in world.client.files.list()}
    start(world, "other", reuse_results_within=WEEK, delete_files=True).run(requests)
    assert {file.id for file in world.client.files.list()} == files
    assert start(world, reuse_results_within=WEEK).run(requests).succeeded == 3
    assert len(world.batches()) == 1


def test_reused_part_survives_the_failure_of_the_rest(world, requests_file):
    """And an abort of it cancels nothing of the earlier run."""
    requests = make_requests(6)
    start(world, reuse_results_within=WEEK).run(requests_file(requests))
    world.emulator.order(BatchFault(code="invalid_value", message="bad", times=None))
    requests[5] = make_request("r-5", content="What is three and three?")
    result = start(world, reuse_results_within=WEEK).run(requests_file(requests))
    assert (result.succeeded, result.failed) == (3, 3)
    assert ids_in(result.output_file) == ["r-0", "r-1", "r-2"]


def test_reused_part_survives_restarts(world, requests_file):
    """What is reused is in the metadata that Flyte keeps."""
    requests = make_requests(6)
    start(world, reuse_results_within=WEEK).run(requests_file(requests))
    requests[5] = make_request("r-5", content="What is three and three?")
    world.kill_during("POST", "/v1/batches", after_work=True)
    result = start(world, "other", reuse_results_within=WEEK, retries=1).run(requests_file(requests), every=60)
    assert (result.succeeded, world.kills) == (6, 1)
    assert len(world.batches()) == 3


def changed(requests, number):
    """The same requests but for one."""
    return [
        *requests[:number],
        make_request(f"r-{number}", content="What is three and three?"),
        *requests[number + 1 :],
    ]


def creations(world):
    return [call.path for call in world.emulator.calls if call.method == "POST"].count("/v1/batches")


@pytest.mark.long
@pytest.mark.parametrize("restarts", [False, True])
def test_many_reused_files_are_all_reused(world, requests_file, monkeypatch, restarts):
    """More than one poll looks up."""
    monkeypatch.setattr(shards, "Limits", partial(Limits, requests=1))
    requests = make_requests(60)
    start(world, reuse_results_within=WEEK).run(requests_file(requests))
    world.emulator.change(requests_per_second=0.001)
    if restarts:
        advance = world.advance

        def restart(seconds):
            advance(seconds)
            if not world.kills:
                world.restart(0)
                world.restart(1)

        monkeypatch.setattr(world, "advance", restart)
    result = start(world, "other", reuse_results_within=WEEK).run(requests_file(changed(requests, 30)))
    assert (result.succeeded, creations(world)) == (60, 61)
    assert "The results of 59 files were those of an earlier run, and cost nothing." in page_of(result)


@pytest.mark.parametrize("status", [500, 429])
def test_reused_file_whose_look_up_fails_is_not_bought_again(world, requests_file, status):
    """It is looked up again."""
    requests = make_requests(9)
    start(world, reuse_results_within=WEEK).run(requests_file(requests))
    old = {batch.id for batch in world.batches()}
    world.emulator.order(*(CallFault(path=f"/v1/batches/{name}", status=status, times=4) for name in old))
    result = start(world, "other", reuse_results_within=WEEK).run(requests_file(changed(requests, 4)), every=60)
    assert (result.succeeded, creations(world)) == (9, 4)


def test_outage_does_not_end_a_task_because_what_it_reuses_is_old(world, requests_file, monkeypatch):
    """The window of an earlier batch is over, and says nothing of the new one."""
    monkeypatch.setattr(past_batches, "time", SimpleNamespace(time=world.emulator.now))
    requests = make_requests(6)
    start(world, reuse_results_within=WEEK).run(requests_file(requests))
    world.advance(60 * HOUR)
    world.emulator.order(CallFault(method="POST", path="/v1/batches", status=503, times=8))
    world.emulator.order(CallFault(method="GET", path="/v1/batches*", status=503, skip=4, times=20))
    result = start(world, "other", reuse_results_within=WEEK).run(requests_file(changed(requests, 5)), every=60)
    assert (result.succeeded, len(world.batches())) == (6, 3)
    # When the reused batch ran is no part of it.
    assert "Took 2 d" not in page_of(result)
    assert "1 reused" in page_of(result)


@pytest.mark.parametrize("resubmissions", [0, 1])
def test_results_that_vanish_after_all_are_missing(world, requests_file, monkeypatch, resubmissions):
    """The others are kept, and another round buys them."""
    requests = make_requests(6)
    start(world, reuse_results_within=WEEK).run(requests_file(requests))
    first = min(world.batches(), key=lambda batch: batch.created_at)
    find = past_batches.PastBatches.find

    def find_and_lose(self, digest, *, requests):
        found = find(self, digest, requests=requests)
        if found is not None:
            world.client.files.delete(found.output_file_id)
        return found

    monkeypatch.setattr(past_batches.PastBatches, "find", find_and_lose)
    arguments = {"reuse_results_within": WEEK, "max_resubmissions": resubmissions}
    result = start(world, "other", **arguments).run(requests_file(changed(requests, 5)))
    assert result.requests == 6
    assert (result.succeeded, result.errors) == ((6, {}) if resubmissions else (3, {"missing": 3}))
    assert first.output_file_id not in [file.id for file in world.client.files.list()]


def test_cap_counts_only_what_is_bought(world, requests_file):
    """Of two models whose results are all there, nothing."""
    pytest.importorskip("genai_prices")
    models = ["gpt-4o", "gpt-4o-mini"]
    requests = [
        {**r, "body": {**r["body"], "max_tokens": 9, "model": models[n % 2]}} for n, r in enumerate(make_requests(12))
    ]
    start(world, reuse_results_within=WEEK).run(requests_file(requests))
    result = start(world, "other", reuse_results_within=WEEK, max_cost_usd=0.0000001).run(requests_file(requests))
    assert (result.succeeded, creations(world)) == (12, 4)


@pytest.mark.usefixtures("whole_files")
def test_request_that_is_larger_than_a_learnt_limit_loses_nothing(world, requests_file):
    """It keeps its own failure, and all others come back."""
    world.emulator.change(enqueued_tokens={"large": 800})
    requests = [long_request(n, model="small") for n in range(4)]
    requests += [long_request(n, model="large", words=1_000 if n == 5 else 300) for n in range(4, 8)]
    result = start(world, max_resubmissions=1).run(requests_file(requests), every=60)
    assert ids_in(result.output_file) == [f"r-{n}" for n in (0, 1, 2, 3, 4, 6, 7)]
    assert result.errors == {"token_limit_exceeded": 1}
