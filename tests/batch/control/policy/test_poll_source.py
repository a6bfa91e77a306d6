"""Whether a page of the list answers a poll, or a look-up."""

import pytest

from flytekitplugins.openai.batch.control.policy.poll_source import is_behind, is_page_cheaper, needs_no_look_up
from tests.builders import make_batch


@pytest.mark.parametrize(("polls", "cheaper"), [(1, False), (3, False), (4, True), (100, True)])
def test_page_is_cheaper_than_the_look_ups_that_it_saves(polls, cheaper):
    """A page costs as much as three."""
    assert is_page_cheaper(polls) is cheaper


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", "pre_schedule"])
def test_running_batch_needs_no_look_up(status):
    """Nothing is decided by it."""
    assert needs_no_look_up(make_batch(status))


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled", ""])
def test_batch_that_ended_is_looked_up(status):
    """So is one of which the list says nothing."""
    assert not needs_no_look_up(make_batch(status))


COUNTS = {"total": 9, "completed": 5, "failed": 2}


@pytest.mark.parametrize(
    ("listed", "behind"),
    [
        (make_batch("in_progress", request_counts=COUNTS), False),
        (make_batch("finalizing", request_counts=COUNTS), False),
        (make_batch("completed", request_counts=COUNTS), False),
        (make_batch("some_status", request_counts=COUNTS), False),
        (make_batch("validating", request_counts=COUNTS), True),
        (make_batch("in_progress", request_counts={**COUNTS, "completed": 4}), True),
        (make_batch("in_progress", request_counts={**COUNTS, "failed": 1}), True),
        (make_batch("in_progress"), True),
    ],
)
def test_list_is_behind_what_was_seen(listed, behind):
    """A cached list shows an earlier status or count, and a poor one none."""
    assert is_behind(listed, make_batch("in_progress", request_counts=COUNTS)) is behind


@pytest.mark.parametrize(
    ("listed", "seen", "behind"),
    [
        ("in_progress", "some_status", False),
        ("some_status", "in_progress", False),
        ("some_status", "completed", False),
        ("validating", "in_progress", True),
        ("cancelling", "cancelled", True),
        ("completed", "finalizing", False),
        ("expired", "completed", False),
    ],
)
def test_order_of_statuses(listed, seen, behind):
    """A server's own status may come before any of OpenAI's or after it, so it says nothing of the list."""
    assert is_behind(make_batch(listed), make_batch(seen)) is behind
