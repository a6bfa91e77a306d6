import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.report.histogram import FEWEST_BARS, MOST_BARS, Bar, bars_of
from flytekitplugins.openai.batch.results.usage import Spread
from tests.batch.results.test_usage import make_spread


@given(st.dictionaries(st.integers(0, 100_000), st.integers(1, 10_000), min_size=1))
def test_every_answer_is_in_one_bar(counts):
    """The bars add up, are few, and stand side by side."""
    bars = bars_of(Spread(counts))
    if not bars:
        assert set(counts) == {0}
        return
    assert sum(bar.answers for bar in bars) == sum(counts.values())
    assert len(bars) <= MOST_BARS + 1
    assert all(one.last + 1 == other.first for one, other in itertools.pairwise(bars))


def test_bars_are_drawn_around_most_answers():
    """One very long answer does not press the others into one bar."""
    bars = bars_of(make_spread(*[1, 2, 3] * 40, 50_000))
    assert bars == [Bar(1, 1, 40), Bar(2, 2, 40), Bar(3, 3, 40), Bar(4, None, 1)]


def test_ranges_widen_where_some_answers_are_much_longer_than_most():
    """Ranges of one size would have most answers in the first bar."""
    bars = bars_of(make_spread(*[8, 9, 12, 30] * 25, *[900] * 20))
    assert [(bar.label, bar.answers) for bar in bars if bar.answers] == [
        ("5\u20139", 50),
        ("10\u201319", 25),
        ("20\u201349", 25),
        ("500\u2013999", 20),
    ]


def test_few_answers_have_few_bars():
    """A bar for each would tell nothing."""
    assert len(bars_of(make_spread(10, 11, 12, 13, 14, 15))) <= FEWEST_BARS


def test_nothing_is_drawn_where_nothing_was_written():
    """Embeddings have no output tokens."""
    assert bars_of(make_spread(0, 0, 0)) == []
    assert bars_of(Spread()) == []


@pytest.mark.parametrize(
    ("bar", "label"), [(Bar(7, 7, 1), "7"), (Bar(0, 999, 1), "0\u2013999"), (Bar(1_000, None, 1), "1,000 or more")]
)
def test_label_is_the_range(bar, label):
    """A range of one number is that number."""
    assert bar.label == label
