"""Joins results with requests: each request once, in the order of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from flytekitplugins.openai._text import shortened

from .shard_results import Outcome, Row, ShardResults
from .usage import Consumption

__all__ = [
    "InconsistentResultsError",
    "Round",
    "merge",
]

# How many ids an error lists.
SHOWN = 5
LONGEST_SHOWN = 100


class InconsistentResultsError(ValueError):
    """The results are not those of the requests."""


@dataclass
class Round:
    """One run of the requests, of some or all of them.

    Attributes:
        index: The shards' numbers and the `custom_id`s in them, in the order of the input.
        open_shard: Gets what came back for a shard.
        consumption: The tokens that its answers took.
        unreadable: How many lines of its files nobody could read.
        requests: How many were run.
        recovered: How many requests of a later round succeeded; 0 in the first.
    """

    index: Iterable[tuple[int, list[str]]]
    open_shard: Callable[[int], ShardResults]
    consumption: Consumption = field(default_factory=Consumption)
    unreadable: int = 0
    requests: int = 0
    recovered: int = 0
    _opened: dict[int, ShardResults] = field(default_factory=dict)

    def rows(self) -> Iterator[Row]:
        """The result of each request of the round, in input order.

        For each model, the results of one shard are held at a time.

        Raises:
            InconsistentResultsError: Something came back that was not asked for.
        """
        return chain.from_iterable(self._runs())

    def close(self) -> None:
        """Close the shards that were not read to their end."""
        for shard in self._opened.values():
            shard.close()

    def _runs(self) -> Iterator[list[Row]]:
        for number, custom_ids in self.index:
            shard = self._opened.get(number)
            if shard is None:
                shard = self._opened[number] = self.open_shard(number)
                self.consumption.merge(shard.consumption)
                self.unreadable += shard.unreadable
            self.requests += len(custom_ids)
            yield shard.rows(custom_ids)
        _refuse(
            [custom_id for shard in self._opened.values() for custom_id in shard.unexpected_ids],
            "came back without having been submitted",
        )


def merge(rounds: Sequence[Round]) -> Iterator[Row]:
    """The final result of each request, in input order: its best one, and of equal ones the last.

    Args:
        rounds: The first, of all requests, and those in which some were run again.

    Raises:
        InconsistentResultsError: The results are not those of the requests.
    """
    first, *others = rounds
    return _best(first.rows(), others) if others else first.rows()


def _best(first: Iterator[Row], others: Sequence[Round]) -> Iterator[Row]:
    coming = [each.rows() for each in others]
    again = [next(rows, None) for rows in coming]
    for row in first:
        best, (custom_id, outcome, _) = row, row
        for number, other in enumerate(again):
            if other is not None and other[0] == custom_id:
                if other[1] >= outcome:
                    best, outcome = other, other[1]
                others[number].recovered += other[1] == Outcome.SUCCEEDED
                again[number] = next(coming[number], None)
        yield best
    _refuse([other[0] for other in again if other is not None], "were resubmitted without having been submitted")


def _refuse(custom_ids: Sequence[str], what: str) -> None:
    if custom_ids:
        shown = ", ".join(shortened(repr(custom_id), LONGEST_SHOWN) for custom_id in custom_ids[:SHOWN])
        more = f" and {len(custom_ids) - SHOWN:,} more" if len(custom_ids) > SHOWN else ""
        raise InconsistentResultsError(f"requests {shown}{more} {what}")
