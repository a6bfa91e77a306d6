import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.results.order import OrderError, OrderWriter, interleave


def order_of(outcomes):
    """What is written for these outcomes, in blocks of several and then one by one."""
    target = io.BytesIO()
    writer = OrderWriter(target)
    for block in (outcomes[:3], outcomes[3:7]):
        writer.add_all(len(block), [number for number, succeeded in enumerate(block) if not succeeded])
    for succeeded in outcomes[7:]:
        writer.add(succeeded)
    writer.flush()
    return target.getvalue().splitlines()


@given(st.lists(st.booleans()))
def test_rows_come_back_in_the_order_of_their_requests(outcomes):
    """Whatever succeeded and failed."""
    rows = list(enumerate(outcomes))
    succeeded, failed = ([row for row in rows if row[1] is wanted] for wanted in (True, False))
    assert list(interleave(order_of(outcomes), iter(succeeded), iter(failed))) == rows


def test_order_is_as_long_as_it_changes():
    """A million requests that all succeeded are one line."""
    assert order_of([True] * 1000) == [b"[1000,0]"]
    assert order_of([False, True, True, False]) == [b"[0,1]", b"[2,1]"]


@pytest.mark.parametrize(
    ("order", "problem"),
    [
        ([b"[2,0]"], "there are fewer rows than the order file says"),
        ([b"[1,0]"], "there are more rows than the order file says"),
        ([b"[1]"], "b'[1]' is not a line of an order file"),
        ([b"x"], "b'x' is not a line of an order file"),
    ],
)
def test_order_of_other_rows_is_an_error(order, problem):
    """The files of two results were mixed up."""
    with pytest.raises(OrderError) as raised:
        list(interleave(order, iter(["row"]), iter(["row"])))
    assert str(raised.value) == problem
