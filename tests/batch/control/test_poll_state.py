from flytekitplugins.openai.batch.control import poll_state
from flytekitplugins.openai.batch.control.batch_outcome import Outcome, Verdict
from flytekitplugins.openai.batch.control.poll_state import Memory, TaskMemory
from tests.builders import make_batch


def test_task_is_remembered_until_it_is_over():
    """Under its own name."""
    remembered = Memory()
    remembered.of("a").put_off = 3
    assert (remembered.of("a").put_off, remembered.of("b").put_off) == (3, 0)
    remembered.forget("a")
    assert remembered.of("a").put_off == 0


def test_oldest_tasks_are_forgotten(monkeypatch):
    """A service lives for months in 300 MB; a task that is forgotten is not lost."""
    monkeypatch.setattr(poll_state, "MAX_TASKS", 3)
    remembered = Memory()
    for name in "abcad":
        remembered.of(name).put_off = 1
    assert len(remembered) == 3
    assert [remembered.of(name).put_off for name in "acd"] == [1, 1, 1]


def test_batch_is_remembered_with_its_end():
    """How long it can be waited for when OpenAI is away."""
    task, verdict = TaskMemory(), Verdict(Outcome.RUNNING, "in progress")
    task.remember({"file-1": make_batch("in_progress", created_at=100, expires_at=90_000)}, verdict)
    assert (task.batch_ids, task.ends_at, task.verdict) == (["batch_1"], 90_000, verdict)


def test_end_follows_from_the_beginning():
    """Some servers tell no expiry."""
    task = TaskMemory()
    task.remember({"file-1": make_batch("in_progress", created_at=100)})
    assert task.ends_at == 100 + 24 * 3600


def test_end_may_be_unknown():
    """Others tell no times at all."""
    task = TaskMemory()
    task.remember({"file-1": make_batch("in_progress")})
    assert task.ends_at is None


def test_submissions_are_put_off_for_longer_each_time_in_a_row():
    """Until OpenAI has taken a batch."""
    task = TaskMemory()
    waits = []
    for _ in range(3):
        task.put_off_submissions(retry_after=None, now=1_000)
        waits.append(task.not_before - 1_000)
    assert waits == [60, 120, 240]
    task.go_on_submitting()
    task.put_off_submissions(retry_after=90, now=1_000)
    assert task.not_before - 1_000 == 90


def test_whole_answers_of_many_batches_are_not_kept():
    """Hundreds of them are some megabytes; the one of a single batch is the task's result."""
    one, many = TaskMemory(), TaskMemory()
    one.remember({"file-1": make_batch()})
    many.remember({f"file-{number}": make_batch() for number in range(2)})
    assert [bool(batch.raw) for batch in (*one.batches.values(), *many.batches.values())] == [True, False, False]
