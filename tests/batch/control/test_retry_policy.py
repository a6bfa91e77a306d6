import pytest

from flytekitplugins.openai.batch.control.batch_outcome import Outcome, Verdict
from flytekitplugins.openai.batch.control.retry_policy import (
    Trouble,
    backoff_seconds,
    is_asked_to_wait,
    is_final_refusal,
    verdict_while_unreachable,
)

NOW = 1_800_000_000.0
MINUTE, HOUR = 60, 3600
LAST = Verdict(Outcome.RUNNING, "in progress: 4 of 10 requests done")


def trouble(*, since=MINUTE, unknown=None, ends=None, **fields):
    """Trouble that began `since` seconds ago; the window of the batch closed `ends` seconds ago."""
    return Trouble(
        "No answer.",
        since=NOW - since,
        unknown_since=None if unknown is None else NOW - unknown,
        ends_at=None if ends is None else NOW - ends,
        **fields,
    )


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        (trouble(since=30 * HOUR, ends=-HOUR), Outcome.RUNNING),
        (trouble(since=30 * HOUR, ends=1.9 * HOUR), Outcome.RUNNING),
        (trouble(since=MINUTE, ends=2 * HOUR), Outcome.FAILED),
        (trouble(since=25 * HOUR), Outcome.RUNNING),
        (trouble(since=26 * HOUR), Outcome.FAILED),
        (trouble(unknown=1.9 * HOUR), Outcome.RUNNING),
        (trouble(unknown=2 * HOUR), Outcome.FAILED),
        (trouble(submitted=False), Outcome.WAITING),
        (trouble(submitted=False, since=26 * HOUR), Outcome.FAILED),
        (trouble(submitted=False, unknown=9 * MINUTE), Outcome.WAITING),
        (trouble(submitted=False, unknown=10 * MINUTE), Outcome.FAILED),
    ],
)
def test_task_is_given_up_when_there_is_no_hope_left(given, outcome):
    """Two hours after its window, or when its batch, or file, is not known for too long."""
    assert verdict_while_unreachable(given, last=LAST, now=NOW).outcome is outcome


def test_task_stays_what_it_was():
    """One that waits for room goes on waiting."""
    waiting = Verdict(Outcome.WAITING, "waiting: no room")
    assert verdict_while_unreachable(trouble(), last=waiting, now=NOW) == Verdict(
        Outcome.WAITING, "No answer. Last seen: waiting: no room."
    )


def test_task_of_which_nothing_is_known_runs():
    """A process that has just started knows nothing."""
    assert verdict_while_unreachable(trouble(), last=None, now=NOW) == Verdict(Outcome.RUNNING, "No answer.")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (trouble(ends=2 * HOUR, since=5 * HOUR), "Gave up after 5 hours, the batch's window being over. No answer."),
        (trouble(unknown=2 * HOUR), "Gave up after 2 hours. No answer."),
        (trouble(submitted=False, unknown=10 * MINUTE), "Gave up after 10 minutes. No answer."),
    ],
)
def test_last_reason_is_told(given, message):
    """A person reads it in the console, with nothing else."""
    assert verdict_while_unreachable(given, last=LAST, now=NOW).message == message


@pytest.mark.parametrize(("status", "final"), [(400, True), (422, True), (401, False), (403, False), (404, False)])
def test_refused_batch_may_be_taken_later(status, final):
    """With another key, or once the file can be seen."""
    assert is_final_refusal(status) is final


@pytest.mark.parametrize(
    ("status", "code", "wait"), [(429, None, True), (400, "token_limit_exceeded", True), (503, None, False)]
)
def test_server_may_ask_to_wait(status, code, wait):
    """Asking it each 30 s would make it worse."""
    assert is_asked_to_wait(status, code) is wait


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
