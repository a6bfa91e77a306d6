import pytest

from flytekitplugins.openai.batch.control.policy.retry_policy import (
    backoff_seconds,
    is_final_refusal,
    is_rate_limited,
)


@pytest.mark.parametrize(("status", "final"), [(400, True), (422, True), (401, False), (403, False), (404, False)])
def test_refused_batch_may_be_taken_later(status, final):
    """With another key, or once the file can be seen."""
    assert is_final_refusal(status) is final


@pytest.mark.parametrize(
    ("status", "code", "wait"), [(429, None, True), (400, "token_limit_exceeded", True), (503, None, False)]
)
def test_server_may_ask_to_wait(status, code, wait):
    """Asking it each 30 s would make it worse."""
    assert is_rate_limited(status, code) is wait


@pytest.mark.parametrize(
    ("times", "retry_after", "seconds"),
    [
        (1, None, 60),
        (1, 90.0, 90),
        (3, 30.0, 240),
        (9, None, 1800),
        (1, 1e9, 3600),
        (1, float("nan"), 60),
        (1, -5.0, 60),
    ],
)
def test_submission_is_put_off_as_long_as_the_server_says(times, retry_after, seconds):
    """And longer from time to time, up to an hour."""
    assert backoff_seconds(times, retry_after=retry_after) == seconds
