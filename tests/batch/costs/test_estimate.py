"""What an input costs before it is submitted, and whether that is too much."""

import sys
from decimal import Decimal

import pytest

from flytekitplugins.openai.batch.costs.budget import over_budget
from flytekitplugins.openai.batch.costs.estimate import estimate_of
from flytekitplugins.openai.batch.records.manifest import FileEntry, Manifest

pytest.importorskip("genai_prices")
MILLION = 1_000_000
# At batch rate: 7.5 cents for a million tokens of the prompts, and 30 for one of the answers.
PROMPTS, ANSWERS = Decimal("0.075"), Decimal("0.3")


def manifest(*entries, models=("gpt-4o-mini",), exact=True):
    return Manifest(models, entries, exact=exact)


def over(most, *entries, **fields):
    return over_budget(estimate_of(manifest(*entries, **fields)), most)


def test_prompts_and_answers_have_their_price():
    """Half of what they cost one by one."""
    estimate = estimate_of(manifest(FileEntry(0, 10, MILLION, MILLION), FileEntry(0, 5, MILLION, MILLION)))
    assert (estimate.requests, estimate.tokens, estimate.files) == (15, 2 * MILLION, 2)
    assert (estimate.prompts, estimate.answers) == (2 * PROMPTS, 2 * ANSWERS)
    assert (estimate.most, estimate.synchronous) == (2 * (PROMPTS + ANSWERS), 4 * (PROMPTS + ANSWERS))
    assert str(estimate) == "2,000,000 prompt tokens: $0.15 for the prompts, and at most $0.60 for the answers"


def test_answers_may_have_no_limit():
    """One request without any is enough."""
    estimate = estimate_of(manifest(FileEntry(0, 10, MILLION, 10), FileEntry(0, 5, 10, None), exact=False))
    assert (estimate.answers, estimate.most, estimate.unlimited) == (None, None, ["gpt-4o-mini"])
    assert str(estimate) == "about 1,000,010 prompt tokens: $0.08 for the prompts, and the answers have no limit"


def test_what_is_reused_costs_nothing():
    """It was paid for."""
    estimate = estimate_of(manifest(FileEntry(0, 10, MILLION, MILLION, "d", "batch_1"), FileEntry(0, 1, MILLION, 0)))
    assert (estimate.files, estimate.reused, estimate.most) == (1, 1, PROMPTS)
    assert estimate_of(manifest(FileEntry(0, 10, MILLION, MILLION, "d", "batch_1"))).most == 0


def test_price_may_not_be_known():
    """Of a model of one's own."""
    estimate = estimate_of(manifest(FileEntry(0, 1, 5, 5), FileEntry(1, 1, 5, 5), models=("gpt-4o-mini", "mine")))
    assert (estimate.prompts, estimate.most, estimate.unknown) == (None, None, ["mine"])
    assert str(estimate) == "10 prompt tokens"


def test_what_may_cost_too_much_is_refused():
    """By how much, and what to do."""
    entry = FileEntry(0, 1_000, MILLION, MILLION)
    assert over(0.375, entry) == ""
    assert over(0.2, entry) == (
        "its 1,000 requests may cost $0.38, which is $0.18 more than max_cost_usd=0.2 (1,000,000 prompt tokens: $0.08 "
        "for the prompts, and at most $0.30 for the answers); raise max_cost_usd, or ask for shorter answers"
    )


def test_prompts_alone_may_cost_too_much():
    """Whatever the answers do."""
    assert over(0.04, FileEntry(0, 1, MILLION, None)).startswith("its 1 request may cost $0.08, which is $0.04 more")


def test_answers_without_a_limit_are_refused():
    """They can cost any amount."""
    assert over(1, FileEntry(0, 1, MILLION, None)) == (
        "its requests for 'gpt-4o-mini' set no limit to their answers, so that max_cost_usd=1 cannot be promised; set "
        "max_completion_tokens in each of them, or max_output_tokens for /v1/responses, or leave max_cost_usd out"
    )


def test_model_without_a_price_is_refused():
    """What it costs cannot be told."""
    assert over(1, FileEntry(0, 1, 1, 1), models=("mine",)) == (
        "max_cost_usd=1 needs to know the price of 'mine', and genai-prices does not have it; install a newer release "
        "of genai-prices, or leave max_cost_usd out"
    )


def test_missing_prices_are_refused(monkeypatch):
    """They are an extra, and the cap is a promise."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert over(1, FileEntry(0, 1, 1, 1)) == (
        "max_cost_usd=1 needs to know prices; install flytekitplugins-openai[prices] in the image of the upload step, "
        "or leave max_cost_usd out"
    )


def test_nothing_costs_nothing():
    """A table may be empty, and everything may have been paid for."""
    assert over(1) == ""
    assert over(1, FileEntry(0, 1, 1, None, "d", "batch_1")) == ""
