"""How the tokens that answers took are drawn: as bars, one for each range of numbers."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from flytekitplugins.openai.batch.results.usage import Spread

__all__ = ["Bar", "bars_of"]

MOST_BARS, FEWEST_BARS = 16, 4
# A few very long answers would press all others into one bar, so the last bar has whatever is above this share.
SHARE_DRAWN = 0.99
# And where that is so many times the median, ranges of one size would press most answers into the first.
HEAVY = 5


@dataclass(frozen=True)
class Bar:
    """So many answers took between `first` and `last` tokens; `None`: or more."""

    first: int
    last: int | None
    answers: int

    @property
    def label(self) -> str:
        """`50-99`, `7`, `1,000 or more`."""
        if self.last is None:
            return f"{self.first:,} or more"
        return f"{self.first:,}" if self.first == self.last else f"{self.first:,}\u2013{self.last:,}"


def bars_of(spread: Spread) -> list[Bar]:
    """The bars, from few tokens to many, without the empty ones before the first; none when nothing was written."""
    if not any(spread.counts):
        return []
    low, high = min(spread.counts), spread.quantile(SHARE_DRAWN)
    if high > HEAVY * spread.quantile(0.5):
        starts = _growing(low, high)
    else:
        # The square root of their number is a good number of bars.
        starts = _even(low, high, most=min(MOST_BARS, max(FEWEST_BARS, math.isqrt(spread.total))))
    *drawn, above = [0] * len(starts)
    for tokens, answers in spread.counts.items():
        if tokens < starts[-1]:
            drawn[bisect_right(starts, tokens) - 1] += answers
        else:
            above += answers
    ranges = zip(pairwise(starts), drawn, strict=True)
    bars = [Bar(first, after - 1, answers) for (first, after), answers in ranges]
    return [*bars, Bar(starts[-1], None, above)] if above else bars


def _even(low: int, high: int, *, most: int) -> list[int]:
    """Where ranges of one size begin, and where the last of them ends: 1, 2, 5, 10, 20, ... numbers each."""
    width = next(width for width in _series(1, 2, 5) if high - low + 1 <= width * (most - 1))
    start = low // width * width
    return list(range(start, high + width + 1, width))


def _growing(low: int, high: int) -> list[int]:
    """The same for ranges that begin at 1, 2, 5, 10, 20, ...; or at 1, 10, 100, ... if these would be too many."""
    for steps in ((1, 2, 5), (1,)):
        starts = [0]
        for start in _series(*steps):
            starts = [start] if start <= low else [*starts, start]
            if start > high:
                break
        if len(starts) <= MOST_BARS + 1:
            break
    return starts


def _series(*steps: int) -> Iterator[int]:
    size = 1
    while True:
        yield from (size * step for step in steps)
        size *= 10
