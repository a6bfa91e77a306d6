"""What a poll sees of a task of several batches, some on a page of the list and some looked up."""

from types import SimpleNamespace

import pytest

from flytekitplugins.openai.batch.control import shared_view
from flytekitplugins.openai.batch.control.observer import Observer
from flytekitplugins.openai.batch.control.shared_view import Listed
from flytekitplugins.openai.batch.control.state.poll_state import PollState
from flytekitplugins.openai.batch.control.task_call import TaskCall
from flytekitplugins.openai.batch.idempotency_key import IdempotencyKey
from flytekitplugins.openai.exceptions import UnavailableError
from tests.builders import make_batch

NOW = 1_700_000_000.0


class Account:
    """An account of OpenAI's at a time that passes while a batch is looked up, as `BatchesAPI` shows it.

    Attributes:
        ages: How old what the list shows of a batch is at first, in seconds; of those that it does not reach, none.
        takes: How long it takes to look up a batch, or why that fails.
        looked_up: Which batches were looked up.
    """

    def __init__(self, ages, takes):
        self.now, self.ages, self.takes, self.looked_up = NOW, ages, takes, []

    async def find_shared(self, batch_id, _seen):
        listed = make_batch("in_progress", id=batch_id, completed=1)
        return Listed(listed, NOW - self.ages[batch_id]) if batch_id in self.ages else None

    async def retrieve(self, batch_id):
        self.looked_up.append(batch_id)
        taken = self.takes[batch_id]
        if isinstance(taken, Exception):
            raise taken
        self.now = max(self.now, NOW) + taken
        return make_batch("in_progress", id=batch_id, completed=2)


@pytest.fixture
def observe(monkeypatch):
    async def observed(ages, takes):
        """How many requests are done, by batch, and which batches were looked up."""
        account = Account(ages, takes)
        monkeypatch.setattr(shared_view, "time", SimpleNamespace(time=lambda: account.now))
        ids = sorted({*ages, *takes})
        spec = SimpleNamespace(
            files=[f"file-{id_}" for id_ in ids],
            batch_id="",
            reused={},
            local=False,
            key=IdempotencyKey.of("s3://bucket/execution/n0/data/0"),
            subject="task",
            log_fields={},
        )
        state = PollState(batches={f"file-{id_}": make_batch("in_progress", id=id_) for id_ in ids})
        current = await Observer(TaskCall(account, spec, state, NOW)).current_batches()
        return {batch.id: batch.completed for batch in current.values()}, account.looked_up

    return observed


async def test_listed_batches_are_not_looked_up(observe):
    """And the others are."""
    assert await observe({"b1": 4.0, "b3": 4.0}, {"b2": 1.0}) == ({"b1": 1, "b2": 2, "b3": 1}, ["b2"])


async def test_listed_batch_is_looked_up_where_others_took_too_long(observe):
    """Nothing that Flyte is told is older than ten seconds."""
    seen = await observe({"b1": 9.0, "b3": 5.0}, {"b1": 0.1, "b2": 3.4})
    assert seen == ({"b1": 2, "b2": 2, "b3": 1}, ["b2", "b1"])


async def test_each_look_up_counts(observe):
    """The second one makes a third necessary."""
    seen = await observe({"b1": 9.0, "b3": 5.0}, {"b1": 3.0, "b2": 2.0, "b3": 1.0})
    assert seen == ({"b1": 2, "b2": 2, "b3": 2}, ["b2", "b1", "b3"])


async def test_batch_that_cannot_be_looked_up_hides_no_other(observe):
    """It is shown as it was seen last."""
    seen = await observe({"b1": 1.0}, {"b2": UnavailableError("away"), "b3": 1.0})
    assert seen == ({"b1": 1, "b2": 0, "b3": 2}, ["b2", "b3"])


@pytest.mark.parametrize("ids", [["b1"], ["b1", "b2"]])
async def test_poll_fails_if_no_batch_can_be_looked_up(observe, ids):
    """With the error of the first."""
    with pytest.raises(UnavailableError, match=r"^b1 is away$"):
        await observe({}, {id_: UnavailableError(f"{id_} is away") for id_ in ids})
