import pytest

from flytekitplugins.openai.batch.control.state.history import figures, timeline
from tests.builders import make_batch

USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"cached_tokens": 10},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 70,
}


def values(data, label):
    return {series["metric"][label]: series["values"] for series in data["result"]}


def test_timeline_tells_each_state_in_order():
    """Times are those of the server, in UTC."""
    batch = make_batch("completed", created_at=30, in_progress_at=60, completed_at=3600, expires_at=86_400)
    assert timeline([batch]) == [
        "1970-01-01 00:00:30 UTC created",
        "1970-01-01 00:01:00 UTC in progress",
        "1970-01-01 01:00:00 UTC completed",
    ]


def test_timeline_of_a_live_batch_ends_with_its_expiry():
    """How long there still is."""
    batch = make_batch("in_progress", created_at=30, expires_at=86_400)
    assert timeline([batch])[-1] == "1970-01-02 00:00:00 UTC expires, unless it is over by then"


def test_timeline_has_every_error():
    """The message of the task has only the first."""
    errors = [{"code": "duplicate_custom_id", "message": "twice", "line": line} for line in (2, 3)]
    lines = timeline([make_batch("failed", errors=errors)])
    assert lines == ["error: line 2: duplicate_custom_id: twice", "error: line 3: duplicate_custom_id: twice"]


def test_figures_are_ranges_of_one_moment():
    """As a Prometheus range query answers them."""
    found = figures([make_batch("in_progress", total=10, completed=3, failed=1, usage=USAGE)], now=5.0)
    requests, tokens = found["openai_batch_requests"], found["openai_batch_tokens"]
    assert requests["resultType"] == "matrix"
    assert values(requests, "state") == {"total": [[5.0, "10"]], "completed": [[5.0, "3"]], "failed": [[5.0, "1"]]}
    assert {kind: int(series[0][1]) for kind, series in values(tokens, "kind").items()} == {
        "input": 50,
        "cached_input": 10,
        "output": 20,
        "reasoning_output": 5,
        "total": 70,
    }


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": "many"}, {"input_tokens_details": 3}])
def test_figures_leave_out_what_is_not_reported(usage):
    """Some servers count no tokens."""
    assert values(figures([make_batch(usage=usage)], now=5.0)["openai_batch_tokens"], "kind") == {}
