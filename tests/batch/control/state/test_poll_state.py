from flytekitplugins.openai.batch.control.policy.retry_policy import backoff_seconds
from flytekitplugins.openai.batch.control.state import poll_state
from flytekitplugins.openai.batch.control.state.phase import Phase, PhaseInfo
from flytekitplugins.openai.batch.control.state.poll_state import PollState, PollStates
from tests.builders import make_batch


def test_task_is_remembered_until_it_is_over():
    """Under its own name."""
    remembered = PollStates()
    remembered.of("a", now=0).refusals = 3
    assert (remembered.of("a", now=1).refusals, remembered.of("b", now=1).refusals) == (3, 0)
    remembered.forget("a")
    assert remembered.of("a", now=2).refusals == 0


def test_tasks_that_nobody_asks_for_are_forgotten(monkeypatch):
    """A service lives for months in 300 MB; a task that is forgotten is not lost."""
    monkeypatch.setattr(poll_state, "MAX_TASKS", 3)
    remembered = PollStates()
    for moment, name in enumerate("abcad"):
        state = remembered.of(name, now=400.0 * moment)
        state.refusals = 1
        state.note_answer(Phase.RUNNING, now=400.0 * moment)
    assert len(remembered) == 3
    assert [remembered.of(name, now=1_600.0).refusals for name in "acd"] == [1, 1, 1]


def test_live_tasks_do_not_drive_each_other_out(monkeypatch):
    """They are polled in turn: with one too many, that one is not remembered, and all others are."""
    monkeypatch.setattr(poll_state, "MAX_TASKS", 3)
    remembered = PollStates()
    refusals = []
    for moment in range(12):
        state = remembered.of("abcd"[moment % 4], now=7.5 * moment)
        refusals.append(state.refusals)
        state.refusals += 1
        state.note_answer(Phase.RUNNING, now=7.5 * moment)
    assert refusals == [0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 2, 0]


def test_batch_is_remembered_with_its_end():
    """The end of its window limits how long the task waits while OpenAI is unavailable."""
    state, info = PollState(), PhaseInfo(Phase.RUNNING, "in progress")
    state.record({"file-1": make_batch("in_progress", created_at=100, expires_at=90_000)}, info)
    assert (state.batch_ids, state.window_ends_at, state.last_info) == (["batch_1"], 90_000, info)


def test_end_follows_from_the_beginning():
    """Some servers tell no expiry."""
    state = PollState()
    state.record({"file-1": make_batch("in_progress", created_at=100)})
    assert state.window_ends_at == 100 + 24 * 3600


def test_end_may_be_unknown():
    """Others tell no times at all."""
    state = PollState()
    state.record({"file-1": make_batch("in_progress")})
    assert state.window_ends_at is None


def test_backoff_grows_with_the_refusals_in_a_row():
    """It starts again once OpenAI has accepted a batch."""
    state = PollState()
    waits = []
    for _ in range(3):
        waits.append(backoff_seconds(state.refusals + 1))
        state.back_off(until=1_000 + waits[-1])
    assert (waits, state.backoff_until) == ([60, 120, 240], 1_240)
    state.end_backoff()
    assert (backoff_seconds(state.refusals + 1, retry_after=90), state.backoff_until) == (90, 0)


def test_whole_answers_of_many_batches_are_not_kept():
    """Hundreds of them are some megabytes; the one of a single batch is the task's result."""
    one, many = PollState(), PollState()
    one.record({"file-1": make_batch()})
    many.record({f"file-{number}": make_batch() for number in range(2)})
    assert [bool(batch.raw) for batch in (*one.batches.values(), *many.batches.values())] == [True, False, False]
