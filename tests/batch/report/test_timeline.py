import pytest

from flytekitplugins.openai.batch.report.timeline import (
    MOST_TICKS,
    Phase,
    Span,
    Stay,
    duration,
    phases_of,
    stays_in,
    ticks_of,
)
from tests.builders import make_batch

COMPLETED = {"created_at": 100, "in_progress_at": 110, "finalizing_at": 200, "completed_at": 230, "expires_at": 9_999}
CANCELLED = {"created_at": 100, "in_progress_at": 110, "cancelling_at": 150, "cancelled_at": 160}


@pytest.mark.parametrize(
    ("times", "phases"),
    [
        (COMPLETED, [("validating", 100, 110), ("in progress", 110, 200), ("finalizing", 200, 230)]),
        (CANCELLED, [("validating", 100, 110), ("in progress", 110, 150), ("cancelling", 150, 160)]),
        ({"created_at": 100, "failed_at": 105}, [("validating", 100, 105)]),
        ({"created_at": 100, "expired_at": 500}, [("validating", 100, 500)]),
        ({"created_at": 100}, [("validating", 100, 100)]),
        (
            {"created_at": 100, "in_progress_at": 100, "completed_at": 130},
            [("validating", 100, 100), ("in progress", 100, 130)],
        ),
        (
            {"created_at": 100, "in_progress_at": 99, "completed_at": 130},
            [("validating", 100, 100), ("in progress", 100, 130)],
        ),
        ({"completed_at": 100}, []),
        ({}, []),
    ],
)
def test_phase_lasts_until_the_next(times, phases):
    """The last one lasts until the batch's end, if its end is known."""
    assert phases_of(make_batch(**times)) == [Phase(state, Span(start, end)) for state, start, end in phases]


def test_span_is_from_the_first_creation_to_the_last_end():
    """The end of a batch's window is not a time at which anything happened."""
    batches = [make_batch(**COMPLETED), make_batch(created_at=90, failed_at=95)]
    assert Span.of(batches) == Span(90, 230)
    assert Span.of([make_batch()]) is None


def test_stays_are_reported_as_median_and_longest():
    """One slow batch among many is visible, and does not dominate."""
    batches = [make_batch(created_at=100, in_progress_at=100 + seconds) for seconds in (1, 2, 60)]
    assert stays_in(batches) == [Stay("validating", 2, 60), Stay("in progress", 0, 0)]


@pytest.mark.parametrize("seconds", [1, 7, 45, 100, 3_600, 5 * 3_600, 86_400, 90_000, 10 * 86_400, 400 * 86_400])
def test_ticks_are_few_and_within_the_line(seconds):
    """Labels have room beside each other, whatever the line's length."""
    ticks = ticks_of(Span(1_000, 1_000 + seconds))
    assert 2 <= len(ticks) <= MOST_TICKS + 1
    assert ticks[0] == (0, "0 s")
    assert all(0 <= at <= 100 for at, _ in ticks)
    assert len({label for _, label in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (-5, "0 s"),
        (0.6, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3_601, "1 h"),
        (3_660, "1 h 1 min"),
        (86_400 * 1_500 + 7_200, "1,500 d 2 h"),
        (86_399, "23 h 59 min"),
    ],
)
def test_duration_has_its_two_largest_units(seconds, text):
    """The seconds of a day do not matter."""
    assert duration(seconds) == text
