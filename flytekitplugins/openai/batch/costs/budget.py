"""Refuses an input that may cost more than its author wants to pay."""

from __future__ import annotations

from decimal import Decimal

from flytekitplugins.openai._text import dollars, plural

from .estimate import CostEstimate

__all__ = ["over_budget"]

ELSE = "or leave max_cost_usd out"


def over_budget(estimate: CostEstimate, most: float) -> str:
    """Why an input must not be submitted, as the rest of a sentence about it; "" if it may be.

    Args:
        estimate: What it costs.
        most: US dollars that it may cost, with the longest answers that its requests allow.
    """
    cap = f"max_cost_usd={most:g}"
    if not estimate.models:
        return ""
    if not estimate.priced:
        extra = "flytekitplugins-openai[prices]"
        return f"{cap} needs to know prices; install {extra} in the image of the upload step, {ELSE}"
    if estimate.unknown:
        names = ", ".join(map(repr, estimate.unknown))
        return (
            f"{cap} needs to know the price of {names}, and genai-prices does not have it; install a newer release of "
            f"genai-prices, {ELSE}"
        )
    prompts = estimate.prompts or Decimal(0)
    if estimate.answers is None and prompts <= Decimal(str(most)):
        names = ", ".join(map(repr, estimate.unlimited))
        return (
            f"its requests for {names} set no limit to their answers, so that {cap} cannot be promised; set "
            f"max_completion_tokens in each of them, or max_output_tokens for /v1/responses, {ELSE}"
        )
    cost = estimate.most if estimate.most is not None else prompts
    excess = cost - Decimal(str(most))
    if excess <= 0:
        return ""
    return (
        f"its {plural(estimate.requests, 'request')} may cost {dollars(cost)}, which is {dollars(excess)} more than "
        f"{cap} ({estimate}); raise max_cost_usd, or ask for shorter answers"
    )
