"""Many polls are answered by a page of the list, and none by what is older than ten seconds or shows the end."""

import asyncio
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.control import shared_view as module
from flytekitplugins.openai.batch.control.shared_view import SharedView
from flytekitplugins.openai.batch.control.state import batch_list
from flytekitplugins.openai.batch.control.state.batch_list import BatchList, Page
from tests.builders import make_batch

# Between two polls of a batch.
INTERVAL = 30
START = 1_700_000_000.0


class World:
    """An account with batches, polled as `Observer` does it, at a time that passes when it is told to.

    Attributes:
        batches: As OpenAI has them, by id.
        order: Their ids as the list has them: newest first, but for those that it shows late.
        cached: What the list shows in place of that.
        calls: How many pages were read, and how many batches looked up.
    """

    def __init__(self, count):
        self.now = START
        self.batches, self.order, self.cached, self.seen = {}, [], None, {}
        self.calls = Counter()
        self.page_trouble = None
        self.page_seconds = 0.0
        self.list = BatchList()
        self.view = SharedView(self.list)
        for _ in range(count):
            self.add()

    def add(self, *, place=0, **fields):
        id_ = f"b{len(self.batches)}"
        self.order.insert(place, id_)
        self.batches[id_] = make_batch("in_progress", id=id_, created_at=START, total=100, **fields)
        return id_

    def change(self, id_, status="in_progress", **fields):
        self.batches[id_] = make_batch(status, id=id_, created_at=START, **{"total": 100, **fields})

    def list_all(self):
        """Read the list to its end, as the search for duplicates does."""
        self.list.order.record([self.batches[id_] for id_ in self.order], after=None, now=self.now)

    async def page(self, limit, after):
        self.calls["pages"] += 1
        await asyncio.sleep(self.page_seconds)
        if self.page_trouble:
            raise self.page_trouble
        known = self.batches if self.cached is None else self.cached
        shown = [known[id_] for id_ in self.order if id_ in known]
        begin = 0 if after is None else [batch.id for batch in shown].index(after) + 1
        entries = {batch.id: batch.raw for batch in shown[begin : begin + limit]}
        return Page(entries, has_more=begin + limit < len(shown))

    async def poll(self, id_):
        """The batch, and whether it came from the list."""
        listed = await self.view.find(id_, self.seen.get(id_), self.page)
        if listed is None:
            self.calls["look-ups"] += 1
            self.view.note_look_up(self.batches[id_])
        self.seen[id_] = listed.batch if listed else self.batches[id_]
        return self.seen[id_], listed is not None

    async def round(self, ids=None, *, lasts=0.0):
        """Poll batches, and let the rest of the interval pass; returns which of them the list answered."""
        ids = [*(self.batches if ids is None else ids)]
        listed = []
        for id_ in ids:
            listed += [id_] if (await self.poll(id_))[1] else []
            self.now += lasts / len(ids)
        self.now += INTERVAL - lasts
        return listed


@pytest.fixture
def make_world(monkeypatch):
    def make(count, *, rounds=2):
        world = World(count)
        monkeypatch.setattr(module, "time", type("Clock", (), {"time": staticmethod(lambda: world.now)}))
        world.view = SharedView(world.list)
        world.list_all()
        for _ in range(rounds):
            asyncio.run(world.round())
        world.calls.clear()
        return world

    return make


@pytest.mark.parametrize(("count", "pages"), [(10, 1), (100, 1), (110, 2), (450, 5)])
def test_pages_answer_the_polls_of_a_moment(make_world, count, pages):
    """A page shows a hundred batches; one batch in a minute is looked up as a sample."""
    world = make_world(count)
    listed = [len(asyncio.run(world.round())) for _ in range(10)]
    assert sum(listed) >= 10 * count - 5
    assert pages * 10 <= world.calls["pages"] <= pages * 12
    assert world.calls["look-ups"] == 10 * count - sum(listed)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_batches_are_looked_up(make_world, count):
    """A page costs more."""
    world = make_world(count)
    assert asyncio.run(world.round()) == []
    assert world.calls == {"look-ups": count}


def test_few_among_many_are_looked_up(make_world):
    """The list is long beside them: no page has more than three."""
    world = make_world(4_000, rounds=0)
    few = [*world.batches][::40]
    for _ in range(3):
        asyncio.run(world.round(few))
    assert world.calls == {"look-ups": 300}


def test_polls_that_are_spread_share_what_comes_within_ten_seconds(make_world):
    """A propeller polls its tasks at an even pace."""
    world = make_world(90, rounds=0)
    for _ in range(12):
        asyncio.run(world.round(lasts=29))
    world.calls.clear()
    listed = asyncio.run(world.round(lasts=29))
    assert len(listed) >= 89
    assert world.calls["pages"] <= 4


def test_pages_do_not_overlap(make_world):
    """Ten pages, each read again after ten seconds, in whatever order the batches are polled."""
    world = make_world(1_000, rounds=0)
    ids = [*world.batches]
    random.Random(0).shuffle(ids)
    for _ in range(3):
        asyncio.run(world.round(ids, lasts=INTERVAL))
    world.calls.clear()
    asyncio.run(world.round(ids, lasts=INTERVAL))
    assert world.calls["pages"] <= 31


def test_few_at_the_ends_of_two_pages_share_a_third(make_world):
    """Three of either page's batches are too few for a page of their own."""
    world = make_world(300)
    few = ["b299", *(f"b{number}" for number in range(97, 103))]
    # Until the others are forgotten.
    for _ in range(24):
        asyncio.run(world.round(few))
    world.calls.clear()
    assert set(asyncio.run(world.round(few))) >= {*few[2:]}
    assert world.calls["pages"] == 1


def test_list_is_divided_anew_where_batches_came_and_went(make_world):
    """Every five minutes; pages that begin where they once did would have empty ends."""
    world = make_world(200)
    for _ in range(50):
        world.add()
    live = [*world.batches][50:]
    for _ in range(12):
        asyncio.run(world.round(live))
    world.calls.clear()
    asyncio.run(world.round(live))
    assert world.calls["pages"] == 2


def test_polls_after_a_pause_share_pages_again(make_world):
    """A propeller that was away for minutes comes back at its old pace: the first round finds out, and no other."""
    world = make_world(100)
    world.now += 200
    asyncio.run(world.round())
    world.calls.clear()
    assert len(asyncio.run(world.round())) >= 98
    assert world.calls["pages"] == 1


def test_tasks_that_are_over_are_not_waited_for(make_world):
    """One of twenty lives on: a page that would answer the polls of the others answers one."""
    world = make_world(20)
    for id_ in [*world.batches][1:]:
        world.change(id_, "completed")
    asyncio.run(world.round())
    world.calls.clear()
    for _ in range(10):
        asyncio.run(world.round(["b0"]))
    assert world.calls == {"look-ups": 10}


def test_tasks_that_were_aborted_or_moved_are_not_waited_for_long(make_world):
    """Nobody says so; their polls are overdue."""
    world = make_world(20)
    for _ in range(3):
        asyncio.run(world.round(["b0"]))
    world.calls.clear()
    for _ in range(10):
        asyncio.run(world.round(["b0"]))
    assert world.calls == {"look-ups": 10}


def test_batches_that_are_polled_seldom_are_looked_up(make_world):
    """Seven of them, one each four seconds: a page would answer three."""
    world = make_world(7, rounds=0)
    for _ in range(4):
        asyncio.run(world.round(lasts=30))
    assert world.calls["pages"] == 0


def test_new_batches_do_not_hide_the_others(make_world):
    """They are first on the list, and nobody has listed them yet."""
    world = make_world(50)
    for _ in range(30):
        world.add()
    listed = asyncio.run(world.round([*world.batches][:50]))
    assert len(listed) >= 49
    asyncio.run(world.round())
    assert len(asyncio.run(world.round())) >= 79


def test_batches_that_are_listed_late_move_the_others_apart(make_world):
    """Where they are listed among those that are known: the page does not reach its last ones any more."""
    world = make_world(200)
    for _ in range(30):
        world.add(place=120)
    for _ in range(3):
        listed = asyncio.run(world.round([*world.batches][:200]))
    assert len(listed) >= 199


def test_order_that_changes_while_it_is_read(make_world):
    """Half of what a page was to show is on another page: what it shows is right, and the list is left alone then."""
    world = make_world(300)
    random.Random(0).shuffle(world.order)
    for id_ in world.batches:
        world.change(id_, completed=1)
    for _ in range(2):
        asyncio.run(world.round())
        assert {batch.completed for batch in world.seen.values()} == {1}
    assert world.calls["pages"] <= 3


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_batch_that_ended_is_looked_up(make_world, status):
    """The list leaves out parts of some."""
    world = make_world(20)
    world.change("b7", status)
    assert "b7" not in asyncio.run(world.round())
    assert world.seen["b7"].status == status


def test_batch_that_is_missing_is_looked_up(make_world):
    """Only this one: the others are where they were."""
    world = make_world(20)
    for _ in range(3):
        world.cached = {id_: batch for id_, batch in world.batches.items() if id_ != "b7"}
        listed = asyncio.run(world.round())
        assert "b7" not in listed
        assert len(listed) >= 18


def test_list_that_fails_is_left_alone_for_a_minute(make_world):
    """Each poll looks up its batch meanwhile, and only one of them waited."""
    world = make_world(20)
    world.page_trouble = ConnectionError("away")
    assert asyncio.run(world.round()) == []
    assert world.calls == {"pages": 1, "look-ups": 20}
    world.page_trouble = None
    assert asyncio.run(world.round()) == []
    assert world.calls == {"pages": 1, "look-ups": 40}
    assert len(asyncio.run(world.round())) >= 19


def test_list_that_is_behind_is_left_alone_for_ten_minutes(make_world):
    """It shows less of a batch than was seen of it before: nobody knows for how long, nor for which others."""
    world = make_world(20)
    world.cached = dict(world.batches)
    for id_ in world.batches:
        world.change(id_, completed=50)
    # The sample of a minute is looked up; what it shows is more than the next page has.
    polls = 0
    while asyncio.run(world.round()):
        polls += 1
    assert polls <= 3
    world.calls.clear()
    for _ in range(18):
        asyncio.run(world.round())
    assert world.calls == {"look-ups": 18 * 20}
    world.cached = None
    asyncio.run(world.round())
    assert asyncio.run(world.round())


def test_list_without_counts_is_not_used(make_world):
    """The progress would come and go with what was asked."""
    world = make_world(20)
    world.cached = {id_: make_batch("in_progress", id=id_, created_at=START) for id_ in world.batches}
    assert asyncio.run(world.round()) == []
    assert asyncio.run(world.round()) == []
    assert world.calls == {"pages": 1, "look-ups": 40}


def test_server_that_does_not_know_after_is_not_asked_again(make_world):
    """It shows its first page, whatever it is asked for."""
    world = make_world(300)

    async def first_page(limit, _after):
        world.calls["pages"] += 1
        shown = [world.batches[id_] for id_ in world.order][:limit]
        return Page({batch.id: batch.raw for batch in shown}, has_more=True)

    world.page = first_page
    for _ in range(4):
        asyncio.run(world.round())
    assert world.calls["pages"] <= 4
    assert {id_ for id_, batch in world.seen.items() if batch.id != id_} == set()


def test_each_batch_is_looked_up_once_an_hour(make_world):
    """A page that never changes would show it as running for ever, and the samples might never meet it."""
    world = make_world(100)
    for id_ in world.batches:
        world.change(id_, "completed")
    world.cached = {id_: make_batch("in_progress", id=id_, created_at=START, total=100) for id_ in world.batches}
    for _ in range(121):
        asyncio.run(world.round([id_ for id_ in world.batches if world.seen[id_].status != "completed"]))
    assert {batch.status for batch in world.seen.values()} == {"completed"}


async def test_list_is_read_when_many_places_are_not_known(make_world, monkeypatch):
    """After a restart: each batch is older than any duplicate of it would be, so nothing else asks for the list."""
    world = await asyncio.to_thread(make_world, 0)
    monkeypatch.setattr(batch_list, "time", module.time)
    for _ in range(250):
        world.add()
    for _ in range(3):
        await world.round()
        await asyncio.sleep(0.01)
    assert len(await world.round()) >= 249
    world.calls.clear()
    few = World(10)
    few.view = SharedView(few.list)
    for _ in range(3):
        await few.round()
    assert few.calls == {"look-ups": 30}


async def test_list_that_cannot_be_read_is_not_asked_for_all_the_time(make_world):
    """The polls go on, each with a look-up."""
    world = await asyncio.to_thread(make_world, 0)
    for _ in range(50):
        world.add()
    world.page_trouble = ConnectionError("away")
    for _ in range(10):
        assert await world.round() == []
        await asyncio.sleep(0)
    assert world.calls == {"pages": 1, "look-ups": 500}


async def test_polls_wait_for_the_page_that_is_under_way(make_world, monkeypatch):
    """As long as a look-up still has time; a poll that was cancelled does not stop it for the others."""
    world = await asyncio.to_thread(make_world, 20)
    world.page_seconds = 0.05
    first = asyncio.create_task(world.poll("b0"))
    await asyncio.sleep(0)
    others = [asyncio.create_task(world.poll(id_)) for id_ in [*world.batches][1:]]
    await asyncio.sleep(0)
    first.cancel()
    answers = await asyncio.gather(*others)
    assert sum(listed for _, listed in answers) >= 18
    assert world.calls["pages"] == 1
    world.now += INTERVAL
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.01)
    assert not (await world.poll("b5"))[1]


def test_clock_that_is_put_back_makes_nothing_fresh(make_world):
    """A page of the future is as good as none."""
    world = make_world(20)
    asyncio.run(world.round())
    world.now -= 5_000
    world.change("b7", "completed")
    asyncio.run(world.round())
    assert world.seen["b7"].status == "completed"


STEPS = st.one_of(
    st.tuples(st.just("poll"), st.integers(0, 11)),
    st.tuples(st.just("pass"), st.sampled_from([0.5, 3.0, 9.0, 30.0, 700.0])),
    st.tuples(st.just("progress"), st.integers(0, 11)),
    st.tuples(st.just("end"), st.integers(0, 11)),
    st.tuples(st.just("add"), st.integers(0, 10)),
    st.tuples(st.just("reorder"), st.integers(0, 9)),
    st.tuples(st.just("trouble"), st.booleans()),
)


@given(steps=st.lists(STEPS, max_size=60))
def test_no_answer_is_older_than_ten_seconds_or_goes_back(steps):
    """Whatever happens: a batch is as it was at some moment of the last ten seconds, and its end is never guessed."""
    with pytest.MonkeyPatch.context() as patch:
        world = World(10)
        patch.setattr(module, "time", type("Clock", (), {"time": staticmethod(lambda: world.now)}))
        world.view = SharedView(world.list)
        world.list_all()
        asyncio.run(_live(world, [("poll", number) for number in range(10)] * 2 + steps))


async def _live(world, steps):
    ended_at, done = {}, Counter()
    history = {id_: [(START, 0)] for id_ in world.batches}
    for what, value in steps:
        id_ = f"b{value}" if what in ("poll", "progress", "end") else None
        if what == "pass":
            world.now += value
        elif what == "add":
            history[world.add(place=value)] = [(world.now, 0)]
        elif what == "reorder":
            random.Random(value).shuffle(world.order)
        elif what == "trouble":
            world.page_trouble = ConnectionError("away") if value else None
        elif id_ in world.batches and what != "poll" and id_ not in ended_at:
            done[id_] += 1
            if what == "end":
                ended_at[id_] = world.now
            world.change(id_, "completed" if what == "end" else "in_progress", completed=done[id_])
            history[id_].append((world.now, done[id_]))
        elif id_ in world.batches and what == "poll":
            batch, listed = await world.poll(id_)
            if listed:
                assert batch.status == "in_progress"
            if id_ in ended_at and world.now - ended_at[id_] > 10:
                assert batch.status == "completed"
            changes = history[id_]
            assert batch.completed >= max((n for at, n in changes if at < world.now - 10), default=0)
