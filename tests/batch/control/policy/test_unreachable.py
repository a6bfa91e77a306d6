import pytest

from flytekitplugins.openai.batch.control.policy.unreachable import phase_while_unreachable
from flytekitplugins.openai.batch.control.state.phase import Phase, PhaseInfo
from flytekitplugins.openai.batch.control.state.poll_state import Outage

NOW = 1_800_000_000.0
MINUTE, HOUR = 60, 3600
LAST = PhaseInfo(Phase.RUNNING, "in progress: 4 of 10 requests done")


def outage(*, since=MINUTE, unknown=None, ends=None, **fields):
    """Outage that began `since` seconds ago; the window of the batch closed `ends` seconds ago."""
    return Outage(
        "No answer.",
        since=NOW - since,
        not_found_since=None if unknown is None else NOW - unknown,
        window_ends_at=None if ends is None else NOW - ends,
        **fields,
    )


@pytest.mark.parametrize(
    ("given", "phase"),
    [
        (outage(since=30 * HOUR, ends=-HOUR), Phase.RUNNING),
        (outage(since=30 * HOUR, ends=1.9 * HOUR), Phase.RUNNING),
        (outage(since=MINUTE, ends=2 * HOUR), Phase.FAILED),
        (outage(since=25 * HOUR), Phase.RUNNING),
        (outage(since=26 * HOUR), Phase.FAILED),
        (outage(unknown=1.9 * HOUR), Phase.RUNNING),
        (outage(unknown=2 * HOUR), Phase.FAILED),
        (outage(submitted=False), Phase.WAITING_FOR_RESOURCES),
        (outage(submitted=False, since=26 * HOUR), Phase.FAILED),
        (outage(submitted=False, unknown=9 * MINUTE), Phase.WAITING_FOR_RESOURCES),
        (outage(submitted=False, unknown=10 * MINUTE), Phase.FAILED),
    ],
)
def test_task_is_given_up_when_there_is_no_hope_left(given, phase):
    """Two hours after its window, or when its batch, or file, is not known for too long."""
    assert phase_while_unreachable(given, last=LAST, now=NOW).phase is phase


def test_task_stays_what_it_was():
    """A waiting task keeps waiting."""
    waiting = PhaseInfo(Phase.WAITING_FOR_RESOURCES, "waiting: no room")
    assert phase_while_unreachable(outage(), last=waiting, now=NOW) == PhaseInfo(
        Phase.WAITING_FOR_RESOURCES, "No answer. Last seen: waiting: no room."
    )


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED, Phase.RETRYABLE_FAILED])
def test_end_is_not_told_without_its_result(phase):
    """`create` may find that a task has succeeded; only a poll hands on what came of it."""
    last = PhaseInfo(phase, "completed: 8 of 8 batches done")
    assert phase_while_unreachable(outage(), last=last, now=NOW).phase is Phase.RUNNING
    young = outage(assumed_phase=Phase.INITIALIZING)
    assert phase_while_unreachable(young, last=last, now=NOW).phase is Phase.INITIALIZING


def test_task_of_which_nothing_is_known_runs():
    """A process that has just started knows nothing."""
    assert phase_while_unreachable(outage(), last=None, now=NOW) == PhaseInfo(Phase.RUNNING, "No answer.")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            outage(ends=2 * HOUR, since=5 * HOUR),
            "Gave up after 5 hours, after the end of the batch's completion window. No answer.",
        ),
        (outage(unknown=2 * HOUR), "Gave up after 2 hours. No answer."),
        (outage(submitted=False, unknown=10 * MINUTE), "Gave up after 10 minutes. No answer."),
    ],
)
def test_last_reason_is_reported(given, message):
    """It is all that the console shows."""
    assert phase_while_unreachable(given, last=LAST, now=NOW).message == message
