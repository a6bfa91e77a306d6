"""The order of the list is known as far as it was read, whatever is added to it meanwhile."""

from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.control.state.list_order import ListOrder
from tests.builders import make_batch

NOW = 1_000_000.0


def batches(*ids, created_at=NOW):
    return [make_batch(id=str(id_), created_at=created_at) for id_ in ids]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 7)), max_size=30))
def test_order_is_that_of_the_list(steps):
    """Pages are read from any known batch on, while new batches come."""
    order, listed, number = ListOrder(), [], 0
    for is_new, place, size in steps:
        if is_new:
            number += 1
            listed.insert(0, str(number))
            continue
        known = [None, *(id_ for id_ in listed if id_ in order)]
        after = known[place % len(known)]
        begin = 0 if after is None else listed.index(after) + 1
        order.record(batches(*listed[begin : begin + size]), after=after, now=NOW)
        assert list(order) == [id_ for id_ in listed if id_ in order]


def test_late_batch_is_put_where_the_list_has_it():
    """OpenAI may list a batch later than younger ones."""
    order = ListOrder()
    order.record(batches(5, 4, 2, 1), after=None, now=NOW)
    order.record(batches(4, 3, 2), after="5", now=NOW)
    assert list(order) == ["5", "4", "3", "2", "1"]
    assert list(order.newer("3")) == ["4", "5"]
    assert list(order.older("3")) == ["2", "1"]


def test_page_after_an_unknown_batch_says_nothing():
    """Where it belongs cannot be told."""
    order = ListOrder()
    order.record(batches(2, 1), after="9", now=NOW)
    assert list(order) == []
    assert list(order.newer("2")) == []


def test_old_batches_are_forgotten():
    """A service lives for months."""
    order = ListOrder()
    order.record([*batches(3, 2), *batches(1, created_at=NOW - 10)], after=None, now=NOW)
    order.forget_before(NOW - 5)
    assert list(order) == ["3", "2"]
    assert "1" not in order
    order.forget_before(NOW + 1)
    assert list(order) == []
    order.record(batches(4), after=None, now=NOW)
    assert list(order) == ["4"]
