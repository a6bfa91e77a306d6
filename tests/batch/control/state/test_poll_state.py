from flytekitplugins.openai.batch.control.policy.retry_policy import backoff_seconds
from flytekitplugins.openai.batch.control.state import poll_state
from flytekitplugins.openai.batch.control.state.phase import Phase, PhaseInfo
from flytekitplugins.openai.batch.control.state.poll_state import PollState, PollStates
from tests.builders import make_batch


def test_task_is_remembered_until_it_is_over():
    """Under its own name."""
    remembered = PollStates()
    remembered.of("a").refusals = 3
    assert (remembered.of("a").refusals, remembered.of("b").refusals) == (3, 0)
    remembered.forget("a")
    assert remembered.of("a").refusals == 0


def test_oldest_tasks_are_forgotten(monkeypatch):
    """A service lives for months in 300 MB; a task that is forgotten is not lost."""
    monkeypatch.setattr(poll_state, "MAX_TASKS", 3)
    remembered = PollStates()
    for name in "abcad":
        remembered.of(name).refusals = 1
    assert len(remembered) == 3
    assert [remembered.of(name).refusals for name in "acd"] == [1, 1, 1]


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
