"""Words what is wrong with an input in one sentence, however many problems there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flytekitplugins.openai._text import plural

__all__ = ["SHOWN", "BadRequestsError", "Problems"]

# How many problems of the first kind are listed; of every other kind, one.
SHOWN = 10
# Nobody reads a line of a megabyte to find what is wrong with it.
LONGEST_DETAIL = 200


class BadRequestsError(ValueError):
    """An input cannot be sent. Its text continues a sentence after the input's name and a colon.

    Args:
        text: The rest of the sentence.
        details: What is wrong, one by one, if it is more than the text.
    """

    def __init__(self, text: str, details: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.details = list(details) or [text]


class Problems:
    """Collects problems by kind: the first few of each, and how many there are."""

    def __init__(self) -> None:
        self._first: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, line: int, kind: str, detail: str) -> None:
        """Note what is wrong with a line.

        Args:
            line: Its number, counted from 1.
            kind: What is wrong, as a predicate: "is not valid JSON".
            detail: What this one has that it should not, or lacks.
        """
        self.add_all(kind, [(line, detail)], count=1)

    def add_all(self, kind: str, problems: Iterable[tuple[int, str]], *, count: int) -> None:
        """Note `count` problems of a kind, of which these are the first."""
        shown = self._first.setdefault(kind, [])
        for line, detail in problems:
            if len(shown) < SHOWN:
                said = detail if len(detail) <= LONGEST_DETAIL else f"{detail[:LONGEST_DETAIL]}..."
                shown.append(f"line {line:,} {kind} ({said})")
        self._counts[kind] = self._counts.get(kind, 0) + count

    @property
    def count(self) -> int:
        """How many there are."""
        return sum(self._counts.values())

    def __bool__(self) -> bool:
        return bool(self._counts)

    @property
    def details(self) -> list[str]:
        """The first problems of each kind, one by one, and how many more of the kind there are."""
        told: list[str] = []
        for kind, shown in self._first.items():
            more = self._counts[kind] - len(shown)
            told += shown
            if more:
                told.append(f"{plural(more, 'more line')} like {'it' if len(shown) == 1 else 'these'}")
        return told

    def __str__(self) -> str:
        total = self.count
        told: list[str] = []
        for kind, shown in self._first.items():
            some = shown[:1] if told else shown
            more = self._counts[kind] - len(some)
            told.append(
                ", ".join(some) + (f" (and {more:,} more like {'it' if len(some) == 1 else 'these'})" * (more > 0))
            )
        return f"{total:,} problem{'s' * (total > 1)}: {'; '.join(told)}"
