from hypothesis import given
from hypothesis import strategies as st

from flytekitplugins.openai.batch.results.usage import (
    EXACT,
    LONGEST_NAME,
    MOST_MODELS,
    OTHER_MODELS,
    Consumption,
    Spread,
    Usage,
)


def make_spread(*tokens):
    spread = Spread()
    for number in tokens:
        spread.add(number)
    return spread


@given(st.lists(st.integers(0, 10**7), min_size=1))
def test_spread_is_exact_to_one_in_512(tokens):
    """The histogram of a million answers has this relative error at most."""
    kept = sorted(number for number, answers in make_spread(*tokens).counts.items() for _ in range(answers))
    assert len(kept) == len(tokens)
    for found, true in zip(kept, sorted(tokens), strict=True):
        assert found == true if true <= EXACT else true * 511 / 512 <= found <= true


def test_spread_stays_small_however_long_the_answers_are():
    """A collect step's memory does not grow with its input."""
    assert len(make_spread(*range(0, 2_000_000, 7)).counts) < 10_000


@given(st.lists(st.integers(0, EXACT), min_size=1), st.floats(0, 1))
def test_quantile_is_not_exceeded_by_its_share(tokens, share):
    """So many of the answers are not longer, and it is the length of one of them."""
    quantile = make_spread(*tokens).quantile(share)
    assert quantile in tokens
    assert sum(number <= quantile for number in tokens) >= share * len(tokens) - 1e-9


def test_quantile_of_nothing_is_zero():
    """A page without answers has one, too."""
    assert Spread().quantile(0.5) == 0


@given(st.lists(st.integers(0, 10**7), min_size=1))
def test_longest_answer_is_reported_as_it_is(tokens):
    """The maximum is exact, so that users can find that answer."""
    one, other = make_spread(*tokens[::2]), make_spread(*tokens[1::2])
    one.merge(other)
    assert one.longest == max(tokens)


def test_models_are_limited():
    """A server that names its model otherwise in each answer does not fill the memory, and no token is lost."""
    total = Consumption()
    for number in range(MOST_MODELS + 50):
        total.of(f"{number}-{'m' * 999}\ud800").output_tokens += 1
    assert len(total.by_model) == MOST_MODELS + 1
    assert (total.by_model[OTHER_MODELS].output_tokens, total.usage.output_tokens) == (50, MOST_MODELS + 50)
    assert all(len(name) <= LONGEST_NAME for name in total.by_model)
    # One that is known is known by its whole name, too.
    total.of(f"0-{'m' * 999}\ud800").output_tokens += 1
    assert total.by_model[OTHER_MODELS].output_tokens == 50


def test_consumption_is_merged_by_model():
    """Every shard has one of its own, and the task the sum."""
    total = Consumption()
    for model, tokens in (("a", 3), ("b", 5), ("a", 4)):
        shard = Consumption({model: Usage(input_tokens=1, output_tokens=tokens)}, make_spread(tokens), cut_off=1)
        total.merge(shard)
    assert total.by_model == {"a": Usage(2, 0, 7), "b": Usage(1, 0, 5)}
    assert total.usage == Usage(3, 0, 12)
    assert total.spread.counts == {3: 1, 4: 1, 5: 1}
    assert total.cut_off == 3
