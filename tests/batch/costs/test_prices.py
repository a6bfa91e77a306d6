import sys
from decimal import Decimal

import pytest

from flytekitplugins.openai.batch.costs.prices import estimate_cost
from flytekitplugins.openai.batch.results.usage import Usage

genai_prices = pytest.importorskip("genai_prices")
MILLION = 1_000_000


def list_price(model, **usage):
    usage = genai_prices.Usage(**usage)
    return genai_prices.calc_price(usage, model_ref=model, provider_id="openai").total_price


def test_batch_costs_half_the_list_price():
    """As OpenAI's guide says."""
    estimate = estimate_cost({"gpt-4o-mini": Usage(input_tokens=1_000, output_tokens=1_000)})
    assert estimate.total == list_price("gpt-4o-mini", input_tokens=1_000, output_tokens=1_000) / 2 > 0
    assert estimate.is_complete


def test_cached_tokens_cost_less():
    """They are among the input, and not charged twice."""
    cost = estimate_cost({"gpt-4o-mini": Usage(input_tokens=1_000, cached_tokens=1_000)}).total
    assert cost == list_price("gpt-4o-mini", input_tokens=1_000, cache_read_tokens=1_000) / 2
    assert cost < estimate_cost({"gpt-4o-mini": Usage(input_tokens=1_000)}).total


def test_tokens_that_are_cached_beside_the_input_do_not_make_it_less():
    """Some servers count them apart."""
    cached = Usage(cached_tokens=1_000)
    assert (
        estimate_cost({"gpt-4o-mini": cached}).total
        == list_price("gpt-4o-mini", input_tokens=1_000, cache_read_tokens=1_000) / 2
    )


def test_batch_is_not_one_long_request():
    """A million short prompts do not cost what a prompt of a million tokens would."""
    small, large = (estimate_cost({"gpt-5.4": Usage(input_tokens=tokens)}).total for tokens in (1_000, 1_000 * MILLION))
    assert large == small * MILLION
    assert list_price("gpt-5.4", input_tokens=1_000 * MILLION) > large * 2


@pytest.mark.parametrize("model", ["llama-3", "", "my-deployment", "\ud800"])
def test_model_without_a_price_is_left_out(model):
    """The estimate names the part of the tokens that it covers."""
    known, unknown = Usage(input_tokens=10), Usage(input_tokens=20)
    estimate = estimate_cost({"gpt-4o-mini": known, model: unknown})
    assert (list(estimate.by_model), estimate.is_complete) == (["gpt-4o-mini"], False)
    estimate = estimate_cost({model: unknown})
    assert (estimate.by_model, estimate.is_complete) == ({}, False)


def test_nothing_is_estimated_without_prices(monkeypatch):
    """They are an extra."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert estimate_cost({"gpt-4o-mini": Usage(input_tokens=10)}) is None


def test_total_of_several_models_is_their_sum():
    """A task may run several."""
    usage = Usage(input_tokens=MILLION)
    estimate = estimate_cost({"gpt-4o-mini": usage, "gpt-4o": usage})
    assert estimate.total == sum(estimate.by_model.values(), Decimal(0)) > 0
