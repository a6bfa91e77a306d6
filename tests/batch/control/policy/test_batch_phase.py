import typing

import openai
import pytest

from flytekitplugins.openai.batch.control.policy.batch_phase import (
    FAILED,
    RUNNING,
    SUCCEEDED,
    batch_phase,
)
from flytekitplugins.openai.batch.control.policy.retry_policy import input_file_is_invisible
from flytekitplugins.openai.batch.control.state.phase import Phase
from tests.builders import make_batch

NOW = 1_800_000_000.0
SDK_STATUSES = typing.get_args(openai.types.Batch.model_fields["status"].annotation)


def phase_of(batch, **arguments):
    return batch_phase(batch, now=NOW, **arguments).phase


def message_of(batch):
    return batch_phase(batch, now=NOW).message


@pytest.mark.parametrize("status", SDK_STATUSES)
def test_every_status_of_the_sdk_is_in_one_table(status):
    """A status that a new SDK brings has to be given a meaning."""
    assert [status in table for table in (RUNNING, SUCCEEDED, FAILED)].count(True) == 1


@pytest.mark.parametrize(
    "status", ["validating", "in_progress", "finalizing", "cancelling", "pre_schedule", "queued", ""]
)
def test_batch_that_is_not_over_is_running(status):
    """A cancelling batch is still billed and may still complete; an unknown status is no reason to give up."""
    assert phase_of(make_batch(status)) is Phase.RUNNING


def test_completed_batch_succeeded():
    """A completed batch with its output file is a success."""
    assert phase_of(make_batch("completed", completed=1, output_file_id="file-1")) is Phase.SUCCEEDED


@pytest.mark.parametrize("status", ["expired", "cancelled", "canceled", "Expired"])
def test_expired_and_cancelled_batches_failed(status):
    """By default a batch must run to its end."""
    assert phase_of(make_batch(status, output_file_id="file-1")) is Phase.FAILED


@pytest.mark.parametrize("status", ["expired", "cancelled"])
def test_partial_results_succeed_where_asked_for(status):
    """What a batch finished before it expired or was cancelled has been paid for."""
    assert phase_of(make_batch(status, output_file_id="file-1"), partial_results=True) is Phase.SUCCEEDED


def test_partial_results_need_results():
    """A batch that expired without an answer has failed, whatever was asked for."""
    assert phase_of(make_batch("expired"), partial_results=True) is Phase.FAILED


@pytest.mark.parametrize("code", [None, "unknown", "internal_error", "server_error"])
def test_internal_error_is_worth_retrying(code):
    """Trouble of OpenAI's own may not come again with the same file."""
    batch = make_batch("failed", errors=[{"code": code, "message": "oops"}])
    assert phase_of(batch) is Phase.RETRYABLE_FAILED


def test_failure_without_a_reason_is_worth_retrying():
    """Nothing is said against the file."""
    assert phase_of(make_batch("failed")) is Phase.RETRYABLE_FAILED


@pytest.mark.parametrize("error", [{"code": "invalid_json_line", "line": 1}, {"code": None, "line": 4}])
def test_error_in_a_line_is_final(error):
    """The same line would be wrong again."""
    assert phase_of(make_batch("failed", errors=[error])) is Phase.FAILED


@pytest.mark.parametrize(
    ("counts", "missing"),
    [({"completed": 2}, "output"), ({"failed": 2}, "error"), ({"completed": 1, "failed": 1}, "both")],
)
def test_result_files_that_are_late_are_waited_for(counts, missing):
    """The ids of result files have been seen to come a moment after the status."""
    batch = make_batch("completed", total=2, completed_at=NOW - 10, **counts)
    assert phase_of(batch) is Phase.RUNNING, missing


def test_result_files_are_waited_for_two_minutes():
    """Later than that they are not coming."""
    batch = make_batch("completed", total=2, completed=2, completed_at=NOW - 121)
    assert phase_of(batch) is Phase.SUCCEEDED


@pytest.mark.parametrize("ended", [NOW * 10, NOW + 86_400])
def test_clock_that_is_wrong_does_not_make_anyone_wait(ended):
    """A server may live in another century, or be ahead by a day."""
    assert phase_of(make_batch("completed", total=2, completed=2, completed_at=ended)) is Phase.SUCCEEDED


def test_counts_that_are_not_there_are_not_said():
    """Some servers count nothing."""
    assert message_of(make_batch("cancelled")) == "batch 'batch_1' was cancelled: requests not counted"


def test_progress_says_how_many_requests_are_done():
    """Done are those that ran, well or not."""
    batch = make_batch("in_progress", total=1000, completed=338, failed=2)
    assert message_of(batch) == "in progress: 340 of 1,000 requests done, 2 failed"


def test_progress_without_counts_is_the_status():
    """Until a batch runs, OpenAI counts nothing."""
    assert message_of(make_batch("validating")) == "validating"


def test_failure_says_how_many_errors_and_the_first():
    """A person can tell from the message alone which line to look at."""
    errors = [{"code": "duplicate_custom_id", "message": "'a' was used", "line": line} for line in (7, 8, 9)]
    expected = "3 errors: line 7: duplicate_custom_id: 'a' was used (and 2 more)"
    assert message_of(make_batch("failed", errors=errors)) == expected


def test_failure_with_one_error_says_it():
    """One error is not a list."""
    errors = [{"code": "empty_file", "message": "it is empty"}]
    assert message_of(make_batch("failed", errors=errors)) == "1 error: empty_file: it is empty"


def test_internal_failure_names_the_batch():
    """OpenAI's support asks for the batch's id."""
    assert message_of(make_batch("failed")) == "OpenAI failed batch 'batch_1', without giving a reason"


def test_expiry_says_what_is_left_and_where():
    """The answers that were paid for can be fetched by hand."""
    batch = make_batch("expired", total=10, completed=4, output_file_id="file-1")
    expected = "batch 'batch_1' expired: 4 of 10 requests done; what it finished is in file 'file-1'"
    assert message_of(batch) == expected


@pytest.mark.parametrize(
    "error",
    [
        {"code": "invalid_request", "param": "file_id", "message": "?"},
        {"code": "invalid_request", "message": "Cannot find file file-1, or organization has no access to it."},
    ],
)
def test_input_file_is_invisible_when_openai_cannot_find_it(error):
    """OpenAI reports it as an invalid request about the file."""
    assert input_file_is_invisible(make_batch("failed", errors=[error]))


def test_input_file_is_visible_when_a_line_is_wrong():
    """An error with a line number means that OpenAI has read the file."""
    assert not input_file_is_invisible(make_batch("failed", errors=[{"code": "invalid_json_line", "line": 1}]))
