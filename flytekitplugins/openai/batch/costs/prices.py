"""What a batch cost: an estimate, by the list prices that `genai-prices` ships with, if that is installed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from flytekitplugins.openai.batch.results.usage import Usage

__all__ = ["SYNCHRONOUS", "Estimate", "estimate_cost"]

# https://platform.openai.com/docs/guides/batch: half the price of the same request by itself.
SYNCHRONOUS = Decimal("0.5")
# Prices are asked for a request of this many tokens; for a whole batch they would be those of one very long request.
SAMPLE = 1_000


@dataclass(frozen=True)
class Estimate:
    """US dollars.

    Attributes:
        by_model: For each model, without those whose price is not known; there may be none.
        is_complete: Whether the price of every model is known.
    """

    by_model: Mapping[str, Decimal]
    is_complete: bool

    @property
    def total(self) -> Decimal:
        """Of all models together."""
        return sum(self.by_model.values(), Decimal(0))


def estimate_cost(by_model: Mapping[str, Usage]) -> Estimate | None:
    """What the tokens of these models cost at OpenAI in a batch; `None` when no prices are installed.

    Nothing is fetched: the prices are those of the installed release of `genai-prices`. Surcharges for very long
    prompts are not in it.
    """
    try:
        import genai_prices  # noqa: PLC0415 (an extra, and only looked for when a report is made)
    except ImportError:
        return None
    costs = {model: _cost(genai_prices, model, usage) for model, usage in by_model.items()}
    known = {model: cost for model, cost in costs.items() if cost is not None}
    return Estimate(known, len(known) == len(costs))


def _cost(genai_prices: Any, model: str, usage: Usage) -> Decimal | None:
    # Some servers count what was cached apart from the input.
    fresh = max(usage.input_tokens - usage.cached_tokens, 0)
    counted = (
        (fresh, {"input_tokens": SAMPLE}),
        (usage.cached_tokens, {"input_tokens": SAMPLE, "cache_read_tokens": SAMPLE}),
        (usage.output_tokens, {"output_tokens": SAMPLE}),
    )
    try:
        prices = [
            genai_prices.calc_price(genai_prices.Usage(**sample), model_ref=model, provider_id="openai").total_price
            for _, sample in counted
        ]
    except (LookupError, ValueError):
        return None
    standard = sum((count * price for (count, _), price in zip(counted, prices, strict=True)), Decimal(0)) / SAMPLE
    return standard * SYNCHRONOUS
