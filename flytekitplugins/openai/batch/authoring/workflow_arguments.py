"""Checks the arguments of `create_batch`, where the workflow is made."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

__all__ = ["check_costs", "check_numbers", "seconds_of"]

# Of a file. https://platform.openai.com/docs/api-reference/files/create
SHORTEST_LIFE, LONGEST_LIFE = timedelta(hours=1), timedelta(days=30)


def seconds_of(name: str, given: timedelta | None) -> int | None:
    """How many seconds an argument is that names a part of the life of a file.

    Raises:
        ValueError: It is none.
    """
    if given is None:
        return None
    if not isinstance(given, timedelta) or not SHORTEST_LIFE <= given <= LONGEST_LIFE:
        raise ValueError(f"{name} must be a timedelta from an hour to 30 days, or None, not {given!r}.")
    return int(given.total_seconds())


def check_numbers(max_resubmissions: int, min_success_ratio: float, max_concurrent_batches: int | None) -> None:
    """Check the numbers of a run.

    Raises:
        ValueError: One is out of its range.
    """
    if max_resubmissions < 0:
        raise ValueError(f"max_resubmissions must be 0 or more, not {max_resubmissions!r}.")
    if not 0 <= min_success_ratio <= 1:
        raise ValueError(f"min_success_ratio must be between 0 and 1, not {min_success_ratio!r}.")
    if max_concurrent_batches is not None and max_concurrent_batches < 1:
        raise ValueError(f"max_concurrent_batches must be 1 or more, or None, not {max_concurrent_batches!r}.")


def check_costs(enqueued_token_limit: int | Mapping[str, int] | None, max_cost_usd: float | None) -> None:
    """Check the numbers of an account.

    Raises:
        ValueError: One is none, or not above 0.
    """
    limits = enqueued_token_limit if isinstance(enqueued_token_limit, Mapping) else {"": enqueued_token_limit}
    if enqueued_token_limit is not None and not all(
        isinstance(name, str) and isinstance(limit, int) and not isinstance(limit, bool) and limit > 0
        for name, limit in limits.items()
    ):
        raise ValueError(
            "enqueued_token_limit must be a whole number above 0, a dictionary from models to such numbers, or None, "
            f"not {enqueued_token_limit!r}."
        )
    is_amount = isinstance(max_cost_usd, (int, float)) and not isinstance(max_cost_usd, bool)
    if max_cost_usd is not None and not (is_amount and 0 < max_cost_usd < float("inf")):
        raise ValueError(f"max_cost_usd must be US dollars above 0, or None, not {max_cost_usd!r}.")
