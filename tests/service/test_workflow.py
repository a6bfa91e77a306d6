"""The whole way of requests: up, through the connector's service, and back, in order and accounted for."""

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from flytekit import StructuredDataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flytekitplugins.openai import read_results
from flytekitplugins.openai.emulator import BatchFault, CallFault, RequestFault
from flytekitplugins.openai.emulator.responder import Reply, prompt_tokens
from flytekitplugins.openai.exceptions import IncompleteFileError, InvalidInputError, TooFewSucceededError
from tests.batch.tables import job
from tests.builders import make_request, make_requests
from tests.service.workflow_run import NodeFailedError, WorkflowRun, ids_in, lines_in, start
from tests.service.world import HOUR

UPLOAD, BATCH, DOWNLOAD = "openai-file-upload-", "openai-batch-", "openai-download-"


pytestmark = pytest.mark.usefixtures("containers")


def long_requests(count, **fields):
    """Requests of 500 tokens, and at most a few more."""
    return [make_request(f"r-{number}", content="word " * 499 + "end", **fields) for number in range(count)]


def codes_in(file):
    return {line["custom_id"]: code_of(line) for line in lines_in(file)}


def code_of(line):
    return (line["error"] or line["response"]["body"]["error"])["code"]


def numbers(*ranges):
    return [f"r-{number}" for start, end in ranges for number in range(start, end)]


def files_at(world):
    return [file.filename for file in world.client.files.list()]


def test_every_request_comes_back_in_order(world, requests_file):
    """However many batches it takes, and whatever order they keep."""
    result = start(world).run(requests_file(make_requests(100)))
    assert ids_in(result.output_file) == numbers((0, 100))
    assert world.statuses() == ["completed"] * 34
    assert (result.requests, result.succeeded, result.failed, result.error_file) == (100, 100, 0, None)
    assert result.input_tokens == 100 * prompt_tokens(make_request()["body"])
    assert result.output_tokens > 0


def test_models_and_failures_are_put_back_in_their_places(world, requests_file):
    """Each model has batches of its own, which end in any order."""
    requests = [make_request(f"r-{number}", model="abc"[number % 3]) for number in range(20)]
    world.emulator.order(RequestFault(custom_id="r-?", status=400, code="invalid_value", times=None))
    result = start(world).run(requests_file(requests))
    assert ids_in(result.output_file) == numbers((10, 20))
    assert ids_in(result.error_file) == numbers((0, 10))
    assert (result.requests, result.succeeded, result.failed) == (20, 10, 10)
    assert result.errors == {"invalid_value": 10}


def test_table_comes_back_with_its_answers(world):
    """A table that is cut into several batches, with rows that fail, are left out, and come back in any order."""
    world.emulator.order(RequestFault(custom_id="1?", status=400, code="invalid_value", times=None))
    texts = [None if number % 4 == 0 else f"text {number}" for number in range(20)]
    run = WorkflowRun(world, job.translate)
    answered = run.run_with({"table": StructuredDataset(dataframe=pa.table({"text": texts}))}).open(pa.Table).all()
    assert answered.column("text").to_pylist() == texts
    failed = [text is not None and number >= 10 for number, text in enumerate(texts)]
    assert [code is not None for code in answered.column("es_error_code").to_pylist()] == failed
    assert answered.column("es_answer").to_pylist() == [
        None if text is None or number >= 10 else f"The emulator heard: Translate: {text}"
        for number, text in enumerate(texts)
    ]


def test_rows_are_read_in_the_order_of_the_input(world, requests_file):
    """Those that succeeded and those that failed stand as they were asked."""
    world.emulator.order(RequestFault(custom_id="r-1*", status=400, code="invalid_value", times=None))
    rows = list(read_results(start(world).run(requests_file(make_requests(20)))))
    assert [row.custom_id for row in rows] == numbers((0, 20))
    assert [row.custom_id for row in rows if not row.ok] == numbers((1, 2), (10, 20))


def test_batch_that_is_refused_leaves_the_others(world, requests_file):
    """The error file has the refusal for its request, and says of the others why nothing came."""
    world.emulator.order(BatchFault(code="invalid_value", message="bad", line=2, skip=1))
    result = start(world).run(requests_file(make_requests(9)))
    assert ids_in(result.output_file) == numbers((0, 3), (6, 9))
    assert codes_in(result.error_file) == {"r-3": "missing", "r-4": "invalid_value", "r-5": "missing"}
    [message] = {line["error"]["message"] for line in lines_in(result.error_file) if code_of(line) == "missing"}
    assert message.endswith("was refused because of another request, on line 2: invalid_value: bad")


def test_all_batches_refused_fail_the_batch_step(world, requests_file):
    """There is nothing to collect, and the reason is the message."""
    world.emulator.order(BatchFault(code="model_not_found", message="no such model", line=1, times=None))
    with pytest.raises(NodeFailedError, match="none of the 3 batches has results; the first: 1 error: line 1: model"):
        start(world).run(requests_file(make_requests(9)))


def test_everything_failed_fails_the_collect_step(world, requests_file):
    """With a line for each code: a batch in which every request failed has completed, to OpenAI."""
    world.emulator.order(RequestFault(custom_id="r-0", status=404, code="model_not_found", message="gone"))
    world.emulator.order(RequestFault(status=400, code="invalid_value", message="bad", times=None))
    with pytest.raises(TooFewSucceededError) as raised:
        start(world).run(requests_file(make_requests(5)))
    assert str(raised.value) == (
        "None of the 5 requests succeeded.\n"
        "invalid_value (400): 4, such as 'r-1': bad\n"
        "model_not_found (404): 1, such as 'r-0': gone"
    )


def test_fewer_than_asked_for_fail_the_collect_step(world, requests_file):
    """How many must succeed is the user's to say."""
    world.emulator.order(RequestFault(custom_id="r-0", status=400, code="invalid_value"))
    with pytest.raises(TooFewSucceededError, match=r"4 of 5 requests succeeded, and min_success_ratio requires 0\.9 "):
        start(world, min_success_ratio=0.9).run(requests_file(make_requests(5)))
    assert start(world, "lower", min_success_ratio=0.8).run(requests_file(make_requests(5))).succeeded == 5


def test_expired_batch_keeps_what_it_finished(world, requests_file):
    """The finished requests are paid for; the others are reported as expired."""
    world.emulator.change(requests_per_second=2 / (24 * HOUR))
    result = start(world).run(requests_file(make_requests(3)))
    assert (result.succeeded, result.errors) == (2, {"batch_expired": 1})


def test_expired_batch_is_finished_by_a_resubmission(world, requests_file):
    """Only what had not been finished runs again."""
    world.emulator.change(requests_per_second=2 / (24 * HOUR))
    run = start(world, max_resubmissions=1)
    world.emulator.order(RequestFault(custom_id="r-1", status=400, code="invalid_value"))
    result = run.run(requests_file(make_requests(6)))
    assert world.statuses() == ["expired", "expired", "completed"]
    assert [batch.request_counts.total for batch in world.batches()] == [3, 3, 2]
    assert ids_in(result.output_file) == [custom_id for custom_id in numbers((0, 6)) if custom_id != "r-1"]
    assert codes_in(result.error_file) == {"r-1": "invalid_value"}


def test_resubmission_of_nothing_submits_nothing(world, requests_file):
    """All is well after the first round."""
    result = start(world, max_resubmissions=2).run(requests_file(make_requests(5)))
    assert (result.succeeded, world.statuses()) == (5, ["completed", "completed"])


def test_what_passes_is_run_again_until_the_rounds_are_over(world, requests_file):
    """Rate limits, time-outs, errors of the server's, and what left no line in any file."""
    for number, fault in enumerate(
        [{"status": 429, "code": "x"}, {"status": 500}, {"code": "request_timeout"}, {"lost": True}]
    ):
        world.emulator.order(RequestFault(custom_id=f"r-{number}", times=2, **fault))
    requests = requests_file(make_requests(5))
    assert start(world, max_resubmissions=2).run(requests).succeeded == 5
    assert [batch.request_counts.total for batch in world.batches()] == [3, 2, 3, 1, 3, 1]


def test_report_tells_what_was_run_again_and_what_came_of_it(world, requests_file):
    """Each request counts once, however often it was run; two of the three came to something."""
    for number, times in enumerate([1, 2, 3]):
        world.emulator.order(RequestFault(custom_id=f"r-{number}", times=times, status=500))
    result = start(world, max_resubmissions=2).run(requests_file(make_requests(5)))
    assert (result.succeeded, result.errors) == (4, {"server_error": 1})
    told = " ".join(Path(result.report.download()).read_text().split())
    assert "3 requests were run again, and 2 of them succeeded then." in told
    assert "Run again, twice" in told


def test_refused_batch_is_made_good_without_its_bad_request(world, requests_file):
    """The others of its file had nothing wrong."""
    world.emulator.order(BatchFault(code="invalid_value", message="bad", line=2))
    result = start(world, max_resubmissions=1).run(requests_file(make_requests(3)))
    assert ids_in(result.output_file) == ["r-0", "r-2"]
    assert codes_in(result.error_file) == {"r-1": "invalid_value"}


def test_full_queue_delays_and_fails_nothing(world, requests_file):
    """Ten batches with room for two."""
    world.emulator.change(enqueued_tokens=2 * 3 * 520, requests_per_second=0.01)
    run = start(world)
    result = run.run(requests_file(long_requests(30)), every=30)
    [node] = run.batch_nodes.values()
    assert (result.succeeded, node.state.attempt) == (30, 0)
    assert Counter(world.statuses())["completed"] == 10


def test_output_that_is_cut_short_is_fetched_again(world, requests_file):
    """Even if the length is not announced."""
    world.emulator.order(CallFault(path="*/content", truncate=150, hide_length=True, times=2))
    assert start(world).run(requests_file(make_requests(9))).succeeded == 9


def test_output_that_stays_cut_short_fails_the_collect_step(world, requests_file):
    """Half of the answers are not the answers."""
    world.emulator.order(CallFault(path="*/content", truncate=150, times=None))
    with pytest.raises(IncompleteFileError):
        start(world).run(requests_file(make_requests(9)))


def test_input_with_a_bad_line_leaves_nothing_at_openai(world, requests_file):
    """However much had been uploaded by then."""
    path = requests_file([*make_requests(20), make_request("r-3")])
    with pytest.raises(InvalidInputError) as raised:
        start(world).run(path)
    assert str(raised.value).endswith("line 21 repeats a custom_id ('r-3' is already on line 4).")
    assert files_at(world) == []
    assert [call.path for call in world.emulator.calls if call.method == "POST"].count("/v1/files") > 2


def test_upload_that_openai_refuses_leaves_nothing_there(world, requests_file):
    """Nor does one whose reply was lost."""
    world.emulator.order(CallFault(method="POST", path="/v1/files", drop=True, after_work=True, skip=2))
    with pytest.raises(Exception, match="Could not upload the requests"):
        start(world).run(requests_file(make_requests(20)))
    assert files_at(world) == []


def test_files_stay_at_openai_unless_they_are_to_be_deleted(world, requests_file):
    """OpenAI keeps them for thirty days."""
    start(world).run(requests_file(make_requests(5)))
    assert len(files_at(world)) == 4


def test_files_are_deleted_when_asked_for(world, requests_file):
    """Those of every round, once the results have been collected."""
    world.emulator.order(RequestFault(custom_id="r-1", status=500))
    run = start(world, delete_files=True, max_resubmissions=1)
    assert run.run(requests_file(make_requests(5))).succeeded == 5
    assert files_at(world) == []


def cut_off(request):
    """What a model answers that is let down by its limit."""
    message = {"role": "assistant", "content": "half a te"}
    choices = [{"index": 0, "message": message, "finish_reason": "length" if request.custom_id == "r-1" else "stop"}]
    return Reply({"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": choices})


def test_answers_that_were_cut_off_are_counted(world, requests_file):
    """And fail a workflow that wants them whole."""
    world.emulator.respond(cut_off)
    result = start(world, min_success_ratio=1.0).run(requests_file(make_requests(5)))
    assert (result.succeeded, result.cut_off) == (5, 1)
    with pytest.raises(TooFewSucceededError, match=r"^4 of 5 requests succeeded, .* Answers that were cut off: 1\."):
        start(world, "whole", min_success_ratio=1.0, complete_answers=True).run(requests_file(make_requests(5)))


FAILURES = {
    "refused": [CallFault(method="POST", path="/v1/batches", status=400, times=None)],
    "failed": [BatchFault(code="invalid_value", line=1, times=None)],
    "without a result": [RequestFault(custom_id="r-*", status=400, times=None)],
}


@pytest.mark.parametrize("max_resubmissions", [0, 1])
@pytest.mark.parametrize("failure", FAILURES)
def test_files_of_what_fails_are_deleted_when_asked_for(world, requests_file, failure, max_resubmissions):
    """No later step needs them."""
    world.emulator.order(*FAILURES[failure])
    run = start(world, delete_files=True, max_resubmissions=max_resubmissions)
    with pytest.raises((NodeFailedError, TooFewSucceededError)):
        run.run(requests_file(make_requests(5)))
    assert files_at(world) == []


def test_results_that_are_too_few_are_not_deleted(world, requests_file):
    """They are paid for, and may still be wanted."""
    world.emulator.order(RequestFault(custom_id="r-1", status=400))
    with pytest.raises(TooFewSucceededError):
        start(world, delete_files=True, min_success_ratio=1.0).run(requests_file(make_requests(5)))
    assert len(files_at(world)) == 5


def test_files_that_cannot_be_deleted_fail_nothing(world, requests_file):
    """The connector's key may not be allowed to; the task tells why it failed, and the log the rest."""
    world.emulator.order(*FAILURES["failed"], CallFault(method="DELETE", path="/v1/files/*", status=403, times=None))
    with pytest.raises(NodeFailedError, match="none of the 2 batches has results"):
        start(world, delete_files=True).run(requests_file(make_requests(5)))
    assert "2 of 2 files at OpenAI were not deleted: Could not delete file" in world.log()


def test_input_files_expire_on_request(world, requests_file):
    """OpenAI keeps them for 30 days otherwise."""
    start(world, input_expires_after=timedelta(hours=2)).run(requests_file(make_requests(5)))
    files = list(world.client.files.list(purpose="batch"))
    assert {file.expires_at - file.created_at for file in files} == {2 * HOUR}


def test_files_that_are_gone_do_not_fail_the_deletion(world, requests_file):
    """The step may be run again."""
    run = start(world, delete_files=True)
    run.run(requests_file(make_requests(2)))
    run.run(requests_file(make_requests(2)))
    assert files_at(world) == []


def test_file_names_tell_the_input_and_the_shard(world, requests_file):
    """So that the list of files on OpenAI's platform is readable."""
    start(world).run(requests_file(make_requests(5)))
    names = sorted(name for name in files_at(world) if name.startswith("requests-"))
    assert [name[-12:] for name in names] == ["-00000.jsonl", "-00001.jsonl"]


@pytest.mark.long
@settings(max_examples=settings().max_examples // 7, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_befalls_the_requests_each_comes_back_once(world, requests_file, data):
    """Failures of every kind, batches that are refused, and rounds to make them good."""
    world.begin()
    count = data.draw(st.integers(1, 12))
    kinds = [{"status": 400, "code": "x"}, {"status": 500}, {"code": "request_timeout"}, {"lost": True}]
    for number in data.draw(st.lists(st.integers(0, count - 1), unique=True)):
        fault = data.draw(st.sampled_from(kinds))
        world.emulator.order(RequestFault(custom_id=f"r-{number}", times=data.draw(st.integers(1, 3)), **fault))
    if data.draw(st.booleans()):
        world.emulator.order(BatchFault(code="invalid_value", line=1, skip=data.draw(st.integers(0, 3))))
    requests = [make_request(f"r-{number}", model=data.draw(st.sampled_from("ab"))) for number in range(count)]
    rounds = data.draw(st.integers(0, 2))
    try:
        result = start(world, f"test-{rounds}", max_resubmissions=rounds).run(requests_file(requests))
    except (TooFewSucceededError, NodeFailedError):
        assert "completed" not in world.statuses() or not any(
            batch.request_counts.completed for batch in world.batches()
        )
        return
    succeeded, failed = ids_in(result.output_file), ids_in(result.error_file)
    order = numbers((0, count))
    assert sorted(succeeded + failed) == sorted(order)
    assert succeeded == [custom_id for custom_id in order if custom_id in succeeded]
    assert failed == [custom_id for custom_id in order if custom_id in failed]
    assert (len(succeeded), len(failed), count) == (result.succeeded, result.failed, result.requests)
    assert sum(result.errors.values()) == result.failed
