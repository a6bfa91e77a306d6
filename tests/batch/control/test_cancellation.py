"""Cancels that continue in the background after the call from Flyte has ended."""

import asyncio

import pytest

from flytekitplugins.openai.batch.control import cancellation
from flytekitplugins.openai.batch.control.cancellation import BackgroundCancellations
from flytekitplugins.openai.batch.control.state.task_spec import TaskSpec

TASK = TaskSpec(None, "batch_1")


class Cancel:
    """Succeeds after so many failures."""

    def __init__(self, failures):
        self.failures = failures
        self.calls = 0
        self.done = asyncio.Event()

    async def __call__(self):
        self.calls += 1
        if self.calls <= self.failures:
            raise ConnectionError("away")
        self.done.set()


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(cancellation, "WAITS_SECONDS", (0, 0.001))


async def test_cancel_goes_on_until_it_succeeds():
    """However often that takes."""
    cancel = Cancel(failures=5)
    BackgroundCancellations().start(TASK, cancel)
    await asyncio.wait_for(cancel.done.wait(), 10)
    assert cancel.calls == 6


async def test_cancel_goes_on_once_for_a_task():
    """Flyte may ask for the same again and again."""
    cancellations, first, second = BackgroundCancellations(), Cancel(failures=3), Cancel(failures=0)
    cancellations.start(TASK, first)
    cancellations.start(TASK, second)
    await asyncio.wait_for(first.done.wait(), 10)
    assert second.calls == 0


async def test_cancel_of_a_task_can_fail_again_later():
    """The earlier attempts are not remembered."""
    cancellations = BackgroundCancellations()
    for _ in range(2):
        cancel = Cancel(failures=1)
        cancellations.start(TASK, cancel)
        await asyncio.wait_for(cancel.done.wait(), 10)
        await asyncio.sleep(0)


async def test_number_of_cancellations_is_bounded(monkeypatch):
    """Anyone who reaches the port can ask for more and more while OpenAI is away."""
    monkeypatch.setattr(cancellation, "MAX_CANCELLATIONS", 2)
    cancellations, cancels = BackgroundCancellations(), [Cancel(failures=3) for _ in range(3)]
    for number, cancel in enumerate(cancels):
        cancellations.start(TaskSpec(None, f"batch_{number}"), cancel)
    for cancel in cancels[:2]:
        await asyncio.wait_for(cancel.done.wait(), 10)
    assert [cancel.calls for cancel in cancels] == [4, 4, 0]


async def test_cancel_ends_with_the_life_of_a_batch(monkeypatch):
    """After a day there is nothing left to cancel."""
    monkeypatch.setattr(cancellation, "WINDOW_SECONDS", 0.003)
    monkeypatch.setattr(cancellation, "GRACE_SECONDS", 0.002)
    cancel = Cancel(failures=1_000_000)
    BackgroundCancellations().start(TASK, cancel)
    [background] = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(background, 10)
    assert 1 < cancel.calls <= 7
