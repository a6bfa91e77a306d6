"""What to do next for one shard, given its batches."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.control.policy.batch_phase import FAILED, is_live, is_live_or_completed
from flytekitplugins.openai.batch.control.policy.retry_policy import backoff_seconds
from flytekitplugins.openai.batch.control.policy.shard_plan import ShardPlan, is_duplicate_check_due, plan_shard
from tests.builders import make_batch

NOW = 1_800_000_000.0
MINUTE = 60
TOKEN_LIMIT = [{"code": "token_limit_exceeded", "message": "Limit: 0"}]
INVISIBLE = [{"code": "invalid_request", "param": "file_id", "message": "Cannot find file"}]
INTERNAL = [{"code": "internal_error"}]


def batch(number=1, status="in_progress", *, attempt="0", age=MINUTE, file_id="file-1", ended=None, **fields):
    """A batch of the node, made `age` seconds ago; `ended` is how long ago it ended."""
    times = {"created_at": NOW - age}
    if ended is not None:
        times[f"{status}_at"] = NOW - ended
    tag = {"flyte_key": f"node/{attempt}"}
    return make_batch(status, id=f"batch_{number}", input_file_id=file_id, metadata=tag, **times, **fields)


def refused(number=1, *, ended, errors=TOKEN_LIMIT, **fields):
    return batch(number, "failed", age=ended, ended=ended, errors=errors, **fields)


def plan(*batches, attempt="0", **arguments):
    return plan_shard(batches, **{"input_file_id": "file-1", "attempt": attempt, "now": NOW, **arguments})


def test_nothing_yet_is_submitted():
    """A look-up that found nothing is what allows it."""
    assert plan() == ShardPlan(submit=True)


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "pre_schedule", "completed"])
@pytest.mark.parametrize("attempt", ["0", "1"])
def test_batch_that_runs_or_completed_is_taken(status, attempt):
    """Whichever attempt made it; a status that is not known is running."""
    made = batch(status=status)
    assert plan(made, attempt=attempt) == ShardPlan(made)


def test_batch_of_another_file_is_not_taken():
    """A node that was given another file has other requests."""
    assert plan(batch(file_id="file-2")).submit


def test_of_two_that_run_the_older_stays():
    """Every replica comes to the same."""
    older, newer = batch(2, age=20), batch(1, age=10)
    assert plan(newer, older) == ShardPlan(older, duplicates=(newer,))


def test_of_two_of_one_second_the_id_decides():
    """OpenAI's times are whole seconds."""
    first, second = batch(1), batch(2)
    assert plan(second, first).batch is first


def test_what_completed_comes_before_what_runs():
    """Its results are there, and paid for."""
    running, completed = batch(1, age=20), batch(2, "completed", age=10)
    assert plan(running, completed) == ShardPlan(completed, duplicates=(running,))


@pytest.mark.parametrize(("status", "errors"), [("expired", []), ("cancelled", []), ("failed", INTERNAL)])
def test_end_counts_for_the_attempt_that_made_the_batch(status, errors):
    """The same attempt reports the failure; the next one submits again."""
    ended = batch(1, status, errors=errors, ended=10)
    assert plan(ended, attempt="0") == ShardPlan(ended)
    assert plan(ended, attempt="1").submit


def test_end_counts_for_the_attempt_that_took_the_batch():
    """It was a batch of an earlier attempt, whose reply was lost."""
    expired = batch(1, "expired", ended=10)
    assert plan(expired, attempt="1", adopted={"batch_1"}) == ShardPlan(expired)


def test_cancel_for_an_earlier_attempt_is_not_that_of_the_one_that_took_the_batch():
    """The earlier one timed out, and its cancel came through only after the batch was taken over."""
    cancelled = batch(1, "cancelled", ended=10)
    assert plan(cancelled, attempt="1", adopted={"batch_1"}).submit


def test_batch_that_lost_a_race_is_not_taken_for_the_users_cancel():
    """It was cancelled because an older one ran, which was then refused."""
    older = refused(1, ended=10 * MINUTE)
    newer = batch(2, "cancelled", age=10 * MINUTE, ended=11 * MINUTE)
    assert plan(older, newer).submit


def test_cancel_beside_a_batch_that_was_being_cancelled_is_the_users():
    """The older one, of an attempt that timed out, had been asked to stop before."""
    older = batch(1, "cancelling", attempt="0", age=10 * MINUTE, cancelling_at=NOW - 5 * MINUTE)
    newer = batch(2, "cancelled", attempt="1", age=4 * MINUTE, ended=MINUTE)
    assert plan(older, newer, attempt="1") == ShardPlan(newer)


def test_cancel_of_a_batch_that_was_submitted_again_is_the_users():
    """Nothing else of the task was running."""
    first = refused(1, ended=10 * MINUTE)
    second = batch(2, "cancelled", age=9 * MINUTE, ended=MINUTE)
    assert plan(first, second) == ShardPlan(second)


@pytest.mark.parametrize(
    ("refusals", "minutes"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (2_000, 30)]
)
def test_wait_grows_with_the_refusals(refusals, minutes):
    """Up to half an hour."""
    assert backoff_seconds(refusals) == minutes * MINUTE


@pytest.mark.parametrize(("ended", "submit"), [(119, False), (120, True), (3600, True)])
def test_refused_batch_is_submitted_again_when_its_wait_is_over(ended, submit):
    """Two refusals mean two minutes, from the last one on."""
    first, last = refused(1, ended=ended + 60), refused(2, ended=ended)
    found = plan(first, last)
    assert (found.batch, found.submit) == (last, submit)
    assert found.waiting == (
        "waiting: OpenAI's queue is full, and the batch was refused 2 times so far (Limit: 0); "
        "it will be submitted again"
    )


def test_batch_that_was_taken_after_refusals_is_taken():
    """The refusals are history."""
    running = batch(2, age=10)
    assert plan(refused(1, ended=60), running) == ShardPlan(running)


def test_end_of_another_batch_of_the_task_makes_room():
    """The wait is cut short."""
    other = batch(2, "completed", file_id="file-2", age=500, ended=5)
    assert not plan(refused(1, ended=10)).submit
    assert plan(refused(1, ended=10), other).submit


def test_refusal_of_another_batch_of_the_task_makes_none():
    """The queue is as full as it was."""
    other = refused(2, ended=5, file_id="file-2")
    assert not plan(refused(1, ended=10), other).submit


@pytest.mark.parametrize("ended", [NOW - NOW * 10, -7 * 24 * 3600])
def test_clock_that_is_wrong_by_far_does_not_make_anyone_wait(ended):
    """A server may live in another century, or year."""
    assert plan(refused(1, ended=ended)).submit


@pytest.mark.parametrize(("times", "submit"), [(1, True), (3, True), (4, False)])
def test_file_that_was_not_found_is_tried_so_often(times, submit):
    """As long as OpenAI says to know it."""
    batches = [refused(number, ended=4 * 3600 - number, errors=INVISIBLE) for number in range(times)]
    assert plan(*batches).submit is submit
    assert not plan(*batches, file_is_visible=False).submit


@pytest.mark.parametrize(
    ("status", "live", "alone"),
    [
        ("validating", True, True),
        ("pre_schedule", True, True),
        ("completed", False, True),
        ("cancelling", False, False),
        ("cancelled", False, False),
        ("failed", False, False),
        ("expired", False, False),
    ],
)
def test_batch_is_the_answer_while_it_may_complete(status, live, alone):
    """Anything else depends on what other batches there are."""
    assert (is_live(batch(status=status)), is_live_or_completed(batch(status=status))) == (live, alone)


@pytest.mark.parametrize(
    ("age", "checked", "due"),
    [(0, None, True), (599, None, True), (601, None, False), (300, 119, False), (300, 120, True), (-3600, None, False)],
)
def test_young_batch_is_made_sure_of_now_and_then(age, checked, due):
    """In the first ten minutes, at the first poll of a process and then each two minutes."""
    checked_at = None if checked is None else NOW - checked
    assert is_duplicate_check_due(batch(age=age), checked_at=checked_at, now=NOW) is due


STATUSES = ["validating", "in_progress", "odd", "completed", "cancelling", "cancelled", "expired", "failed"]


@st.composite
def nodes(draw):
    """All that a node may have come to."""
    batches = []
    for number in range(draw(st.integers(0, 6))):
        age = draw(st.integers(0, 90_000))
        batches.append(
            batch(
                number,
                draw(st.sampled_from(STATUSES)),
                attempt=draw(st.sampled_from("012")),
                age=age,
                ended=draw(st.integers(0, age)),
                file_id=draw(st.sampled_from(["file-1", "file-2"])),
                errors=draw(st.sampled_from([[], TOKEN_LIMIT, INVISIBLE, INTERNAL])),
            )
        )
    return batches


@given(nodes(), st.sampled_from("012"), st.booleans(), st.randoms())
def test_plan_does_not_depend_on_the_order_of_the_list(batches, attempt, visible, chance: random.Random):
    """Two replicas that see the same do the same."""
    shuffled = chance.sample(batches, len(batches))
    arguments = {"attempt": attempt, "file_is_visible": visible}
    assert plan(*batches, **arguments) == plan(*shuffled, **arguments)


@given(nodes(), st.sampled_from("012"), st.booleans())
def test_plan_never_buys_twice(batches, attempt, visible):
    """While something of the file runs or completed nothing is submitted, and of all that runs one stays."""
    found = plan(*batches, attempt=attempt, file_is_visible=visible)
    good = [b for b in batches if b.input_file_id == "file-1" and is_live_or_completed(b)]
    assert not (found.submit and good)
    assert (found.batch in good) == bool(good)
    left = [b for b in good if is_live(b) and b not in found.duplicates]
    assert all(is_live(b) for b in found.duplicates)
    assert left in ([], [found.batch])


@given(nodes(), st.sampled_from("012"), st.booleans())
def test_plan_always_goes_on_or_ends(batches, attempt, visible):
    """There is a batch to judge, or one to submit: nothing is forgotten."""
    found = plan(*batches, attempt=attempt, file_is_visible=visible)
    assert found.submit or found.batch is not None
    if found.waiting:
        assert found.batch.status in FAILED


def test_young_batch_that_completed_is_made_sure_of_at_once():
    """Its task is not polled again."""
    completed = batch(status="completed", age=60, ended=10)
    assert is_duplicate_check_due(completed, checked_at=NOW - 5, now=NOW)
