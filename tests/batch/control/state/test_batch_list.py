"""The list of an account's batches is read as little as possible, and an unread part never counts as read."""

import asyncio
import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.control.state import batch_list as module
from flytekitplugins.openai.batch.control.state.batch_list import BatchList, Page, StaleListError
from tests.builders import make_batch

HOUR = 3600


def as_page(batches, *, has_more):
    return Page({batch.id: batch.raw for batch in batches}, has_more)


class Account:
    """A list of batches as OpenAI answers it, newest first.

    Args:
        ages: Of the batches, in seconds; their numbers are their places in this list.
    """

    def __init__(self, ages=()):
        self.now = time.time()
        self.batches = []
        self.calls = []
        self.failing = 0
        self.breaks_at = None
        for number, age in enumerate(ages):
            self.add(number, age=age)

    def add(self, number, *, age=0, node="node", **fields):
        tag = {"flyte_key": f"{node}/0"}
        self.batches.append(
            make_batch("in_progress", id=f"b{number}", metadata=tag, created_at=self.now - age, **fields)
        )
        self.batches.sort(key=lambda batch: -batch.times["created_at"])

    async def page(self, limit, after):
        self.calls.append((limit, after))
        await asyncio.sleep(0)
        if self.failing:
            self.failing -= 1
            raise ConnectionError("away")
        if len(self.calls) == self.breaks_at:
            raise asyncio.CancelledError
        begin = 0 if after is None else [batch.id for batch in self.batches].index(after) + 1
        return as_page(self.batches[begin : begin + limit], has_more=begin + limit < len(self.batches))


def ids(batches):
    return {int(batch.id[1:]) for batch in batches}


async def look(batch_list, account, node="node"):
    return ids(await batch_list.batches_of(node, account.page))


async def test_every_batch_of_a_node_is_found():
    """However many others there are."""
    account = Account()
    for number in range(300):
        account.add(number, age=number, node=f"node-{number % 7}")
    assert await look(BatchList(), account, "node-3") == set(range(3, 300, 7))


async def test_list_is_read_back_to_the_horizon():
    """No live task has batches older than three days."""
    account = Account(range(0, 100 * HOUR, HOUR // 4))
    found = await look(BatchList(), account)
    assert max(found) == 72 * 4 - 1
    assert len(account.calls) < 5


async def test_second_look_reads_what_is_new():
    """And a little more, because a batch may appear late."""
    account = Account(range(0, 70 * HOUR, 5 * 60))
    batch_list = BatchList()
    await look(batch_list, account)
    account.calls.clear()
    account.add(10_000)
    assert 10_000 in await look(batch_list, account)
    assert account.calls == [(20, None)]


async def test_batch_that_appears_late_is_found():
    """It is older than the newest that was seen before."""
    account = Account([0, 60, 120])
    batch_list = BatchList()
    await look(batch_list, account)
    account.add(7, age=500)
    assert 7 in await look(batch_list, account)


async def test_list_that_is_behind_says_nothing():
    """If a recent batch is missing, others may be missing, too."""
    account = Account([0, 60, 120])
    batch_list = BatchList()
    await look(batch_list, account)
    account.batches.pop(0)
    with pytest.raises(StaleListError, match="it lacks b0"):
        await look(batch_list, account)


async def test_callers_who_run_out_of_time_do_not_stop_the_reading():
    """A reading of a minute is of use to those who come after it, however short each call is."""
    account, batch_list = Account(range(3_000)), BatchList()
    for _ in range(200):
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(look(batch_list, account), 0.0001)
    account.calls.clear()
    assert await look(batch_list, account) == set(range(3_000))
    assert len(account.calls) < 40


async def test_list_that_cannot_be_read_says_nothing():
    """Least of all that there is no batch."""
    account, batch_list = Account([0]), BatchList()
    account.failing = 1
    with pytest.raises(ConnectionError):
        await look(batch_list, account)
    assert await look(batch_list, account) == {0}


async def test_reading_that_was_cut_short_goes_on_where_it_was():
    """An account with tens of thousands of batches takes several calls of eight seconds."""
    account, batch_list = Account(range(1_000)), BatchList()
    await break_off(batch_list, account, 5)
    account.calls.clear()
    assert await look(batch_list, account) == set(range(1_000))
    assert [after for _, after in account.calls].count(None) == 1
    assert len(account.calls) < 20


async def test_list_that_fails_at_its_beginning_is_not_remembered():
    """An outage of a day must not make the next look longer."""
    account, batch_list = Account(range(50)), BatchList()
    account.failing = 100
    for _ in range(100):
        with pytest.raises(ConnectionError):
            await look(batch_list, account)
    account.calls.clear()
    await look(batch_list, account)
    assert len(account.calls) == 2


async def test_callers_share_a_reading_that_began_after_they_asked():
    """A thousand tasks at once are not a thousand lists."""
    account, batch_list = Account(range(10)), BatchList()
    assert await asyncio.gather(*(look(batch_list, account) for _ in range(50))) == [set(range(10))] * 50
    assert len(account.calls) <= 2


async def test_server_that_does_not_know_after_is_not_asked_for_ever():
    """It would give the same page again and again."""
    account = Account(range(30))

    async def page(limit, _after):
        return as_page(account.batches[:limit], has_more=True)

    assert len(await BatchList().batches_of("node", page)) == 30


async def test_server_that_gives_the_same_pages_in_turn_is_not_asked_for_ever():
    """The reading goes on when its caller has given up, and would fill the memory."""
    batches = [make_batch(id=f"b{number}", metadata={"flyte_key": "node/0"}) for number in range(40)]
    asked = []

    async def page(limit, after):
        asked.append(after)
        await asyncio.sleep(0)
        begin = 20 * (len(asked) % 2)
        return as_page(batches[begin : begin + 20], has_more=True)

    assert len(await asyncio.wait_for(BatchList().batches_of("node", page), 10)) == 40
    assert len(asked) == 3


async def test_servers_without_times_are_read_to_the_end():
    """There is no telling how old their batches are."""
    batches = [make_batch(id=f"b{number}", metadata={"flyte_key": "node/0"}) for number in range(150)]

    async def page(limit, after):
        begin = 0 if after is None else [batch.id for batch in batches].index(after) + 1
        return as_page(batches[begin : begin + limit], has_more=begin + limit < len(batches))

    assert len(await BatchList().batches_of("node", page)) == 150


async def test_old_batches_are_forgotten(monkeypatch):
    """A service lives for months."""
    account, batch_list = Account([HOUR]), BatchList()
    assert await look(batch_list, account) == {0}
    later = account.now + module.HORIZON_SECONDS
    monkeypatch.setattr(module, "time", type("Clock", (), {"time": lambda: later, "monotonic": time.monotonic}))
    assert await look(batch_list, account) == set()


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6), st.booleans()), max_size=12))
def test_nothing_is_ever_missed(steps):
    """Whatever comes between, batches that are added and readings that break off: a look that succeeds finds all."""

    async def live():
        account, batch_list, number = Account(), BatchList(), 0
        for added, failing_after, fails in steps:
            for _ in range(added):
                account.now += 30
                account.add(number)
                number += 1
            if fails:
                await break_off(batch_list, account, failing_after)
            else:
                assert await look(batch_list, account) == set(range(number))

    asyncio.run(live())


async def break_off(batch_list, account, pages):
    """Look, and run out of time in so many pages, if there are as many."""
    account.calls.clear()
    account.breaks_at = pages
    with contextlib.suppress(asyncio.CancelledError):
        await look(batch_list, account)
    account.breaks_at = None
