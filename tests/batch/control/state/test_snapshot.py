import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.control.state.snapshot import BatchError, BatchSnapshot, canonical_status


@pytest.mark.parametrize("status", ["completed", "Completed", "COMPLETED", " completed "])
def test_status_is_compared_without_case(status):
    """Azure capitalises statuses and Together writes them in upper case."""
    assert canonical_status(status) == "completed"


def test_canceled_is_cancelled():
    """Some compatible servers spell the status with one l."""
    assert (canonical_status("canceled"), canonical_status("canceling")) == ("cancelled", "cancelling")


@pytest.mark.parametrize("absent", [{}, {"output_file_id": None}, {"output_file_id": ""}])
def test_file_id_that_is_left_out_null_or_empty_is_none(absent):
    """A missing file has been seen as a missing key, as null, and as an empty text."""
    assert BatchSnapshot.from_dict({"id": "batch_1", **absent}).output_file_id is None


def test_result_has_every_file_id():
    """A workflow may ask the result for a file id that the server left out."""
    result = BatchSnapshot.from_dict({"id": "batch_1", "error_file_id": ""}).result
    assert result == {"id": "batch_1", "input_file_id": None, "output_file_id": None, "error_file_id": None}


def test_result_keeps_what_it_does_not_know():
    """The result is the server's own answer."""
    assert BatchSnapshot.from_dict({"id": "batch_1", "new": [1]}).result["new"] == [1]


@pytest.mark.parametrize("counts", [None, {}, {"total": None, "completed": None, "failed": None}])
def test_counts_that_are_not_there_are_zero(counts):
    """Compatible servers leave the counts out or null until the batch runs."""
    batch = BatchSnapshot.from_dict({"id": "batch_1", "request_counts": counts})
    assert (batch.total, batch.completed, batch.failed) == (0, 0, 0)


@pytest.mark.parametrize(
    "moment", [1_700_000_000, 1_700_000_000_000, "2023-11-14T22:13:20Z", "2023-11-14T22:13:20+00:00"]
)
def test_times_are_unix_seconds_whatever_a_server_sends(moment):
    """OpenAI sends numbers, some compatible servers milliseconds or ISO 8601."""
    assert BatchSnapshot.from_dict({"created_at": moment}).times == {"created_at": 1_700_000_000.0}


def test_time_without_a_zone_is_utc(monkeypatch):
    """A server means its own clock, and those are set to UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    moment = BatchSnapshot.from_dict({"created_at": "2023-11-14T22:13:20"}).times["created_at"]
    monkeypatch.undo()
    time.tzset()
    assert moment == 1_700_000_000.0


@pytest.mark.parametrize(
    "errors",
    [
        {"object": "list", "data": [{"code": "bad", "message": "no", "line": 3}]},
        [{"code": "bad", "message": "no", "line": 3}],
        {"code": "bad", "message": "no", "line": 3},
    ],
)
def test_errors_are_a_list_object_a_list_or_one_error(errors):
    """Servers differ in how they wrap a batch's errors."""
    assert BatchSnapshot.from_dict({"errors": errors}).errors == (BatchError("bad", "no", 3),)


def test_code_and_line_may_be_of_another_type():
    """A number is as good a code as a text."""
    errors = {"data": {"code": 400, "message": "no", "line": "7"}}
    assert BatchSnapshot.from_dict({"errors": errors}).errors == (BatchError("400", "no", 7),)


@pytest.mark.parametrize("errors", [None, [], {}, {"data": None}, ""])
def test_no_errors_have_many_forms(errors):
    """None of them is an error."""
    assert BatchSnapshot.from_dict({"errors": errors}).errors == ()


def test_errors_may_be_a_text():
    """A text is an error without a code."""
    assert BatchSnapshot.from_dict({"errors": "out of luck"}).errors == (BatchError(None, "out of luck"),)


def test_error_says_line_code_and_message():
    """What a person reads of an error is all that is known of it."""
    assert str(BatchError("bad", "no good", 3)) == "line 3: bad: no good"


def test_error_without_anything_says_so():
    """An empty error still gives a sentence."""
    assert str(BatchError(None, None)) == "no reason given"


def test_summary_leaves_out_what_is_not_known():
    """The info kept beside the phase holds no nulls."""
    summary = BatchSnapshot.from_dict({"id": "batch_1", "status": "validating", "created_at": 5}).summary()
    assert summary == {
        "batch_id": "batch_1",
        "status": "validating",
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "created_at": 5.0,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["id", "status", "errors", "request_counts", "created_at", "usage", "output_file_id", "model"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON))
def test_no_answer_makes_reading_raise(raw):
    """Whatever JSON a server answers, there is a snapshot of it, and a summary."""
    BatchSnapshot.from_dict(raw).summary()


@given(st.dictionaries(st.sampled_from(["total", "completed", "failed"]), JSON))
def test_no_counts_make_reading_raise(counts):
    """Nor do counts of any form."""
    BatchSnapshot.from_dict({"request_counts": counts})


@pytest.mark.parametrize("broken", ["\ud83d", "caf\u00e9 \ud83d"])
def test_half_a_character_is_replaced(broken):
    """JSON may have it where a message was cut, and protobuf cannot hold it: the answer would be lost."""
    batch = BatchSnapshot.from_dict({"id": "b", "metadata": {broken: [broken]}, "errors": [{"message": broken}]})
    json.dumps(batch.result, ensure_ascii=False).encode()
    assert batch.errors[0].message.endswith("?")


def test_huge_integer_is_a_float():
    """It would not fit into a literal."""
    assert BatchSnapshot.from_dict({"id": "b", "usage": {"total_tokens": 2**70}}).usage == {"total_tokens": 2.0**70}


@pytest.mark.parametrize("line", ["9" * 5_000, "9" * 30])
def test_line_number_without_end_is_left_out(line):
    """Python itself refuses to read it."""
    assert BatchSnapshot.from_dict({"errors": [{"line": line}]}).errors[0].line is None


@pytest.mark.parametrize("moment", [0, -5, 1e30, 1.7e308])
def test_time_that_is_none_is_left_out(moment):
    """Some servers write zero where OpenAI writes null; and no date is after the year 9999."""
    assert BatchSnapshot.from_dict({"created_at": moment}).times == {}
