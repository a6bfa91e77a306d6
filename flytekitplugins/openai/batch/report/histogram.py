"""How the tokens that answers took are drawn: as bars, one for each range of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from flytekitplugins.openai.batch.usage import Spread

__all__ = ["Bar", "bars_of"]

MOST_BARS = 16
# A few very long answers would press all others into one bar, so the last bar has whatever is above this share.
SHARE_DRAWN = 0.99


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
    width = _width(high - low + 1)
    start = low // width * width
    end = start + width * ((high - start) // width + 1)
    drawn = [0] * ((end - start) // width)
    above = 0
    for tokens, answers in spread.counts.items():
        if tokens < end:
            drawn[(tokens - start) // width] += answers
        else:
            above += answers
    bars = [Bar(start + width * n, start + width * (n + 1) - 1, answers) for n, answers in enumerate(drawn)]
    return [*bars, Bar(end, None, above)] if above else bars


def _width(extent: int) -> int:
    """The least of 1, 2, 5, 10, 20, ... by which so many numbers go into few enough bars."""
    size = 1
    while True:
        for width in (size, 2 * size, 5 * size):
            if extent <= width * (MOST_BARS - 1):
                return width
        size *= 10
