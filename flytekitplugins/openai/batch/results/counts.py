"""Counts the results: how many requests succeeded, why others failed, and whether enough succeeded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flytekitplugins.openai._text import shortened, whole

from .failures import Failure, failure_in, is_worth_running_again
from .lines import count_tokens, read_line
from .usage import Consumption

__all__ = ["Kind", "Tally", "tally_files"]

# OpenAI has some dozens of codes, all short. Another server's must fit into an output of Flyte as well.
MOST_KINDS = 200
OTHER_KINDS = "other"
LONGEST_CODE, LONGEST_EXAMPLE, LONGEST_MESSAGE = 100, 200, 1_000


@dataclass
class Kind:
    """The requests that failed in one way: how many, and the first of them, cut to what a page can hold.

    Attributes:
        code: The error's code.
        status: The HTTP status, where there was an answer.
        count: How many there are.
        example: The first one's `custom_id`.
        message: What was said about it.
    """

    code: str
    status: int | None = None
    count: int = 0
    example: str = ""
    message: str = ""

    @property
    def label(self) -> str:
        """The code with the status, unless that is the code."""
        return self.code if self.status is None or str(self.status) == self.code else f"{self.code} ({self.status})"

    @property
    def is_worth_running_again(self) -> bool:
        """Whether they are worth running again."""
        return is_worth_running_again(Failure(self.code, self.message, self.status))


@dataclass
class Tally:
    """Counts of the requests, by outcome and error.

    Attributes:
        succeeded: How many were answered.
        kinds: The others, by code and status.
        consumption: The tokens that the answers took.
        run_again: How many requests were run more than once.
        recovered: How many of these succeeded in the end.
    """

    succeeded: int = 0
    consumption: Consumption = field(default_factory=Consumption)
    kinds: dict[tuple[str, int | None], Kind] = field(default_factory=dict)
    run_again: int = 0
    recovered: int = 0

    def add_failure(self, custom_id: str, line: bytes) -> None:
        """Count a request that did not succeed."""
        failure = failure_in(line)
        code = shortened(failure.code, LONGEST_CODE)
        kind = self.kinds.get((code, failure.status))
        if kind is None:
            kind = Kind(OTHER_KINDS)
            if len(self.kinds) < MOST_KINDS:
                example = shortened(whole(custom_id), LONGEST_EXAMPLE)
                message = shortened(failure.message, LONGEST_MESSAGE)
                kind = Kind(code, failure.status, example=example, message=message)
            kind = self.kinds.setdefault((kind.code, kind.status), kind)
        kind.count += 1

    @property
    def failed(self) -> int:
        """How many were not answered."""
        return sum(kind.count for kind in self.kinds.values())

    @property
    def requests(self) -> int:
        """How many there were."""
        return self.succeeded + self.failed

    @property
    def errors(self) -> dict[str, int]:
        """How many failed with which code."""
        counts: dict[str, int] = {}
        for kind in self.kinds.values():
            counts[kind.code] = counts.get(kind.code, 0) + kind.count
        return counts

    @property
    def worth_running_again(self) -> int:
        """How many of the failed requests are worth running again."""
        return sum(kind.count for kind in self.kinds.values() if kind.is_worth_running_again)

    @property
    def by_count(self) -> list[Kind]:
        """The kinds of failures, the most frequent first."""
        return sorted(self.kinds.values(), key=lambda kind: (-kind.count, kind.label))

    def complaint(self, min_success_ratio: float, *, complete_answers: bool = False) -> str:
        """Why too few requests succeeded, with a line for each kind of failure; "" when enough did, or there were none.

        Args:
            min_success_ratio: The part of the requests that must have succeeded, from 0 to 1. None at all is never
                enough.
            complete_answers: Whether an answer that was cut off counts as none.
        """
        if not self.requests:
            return ""
        cut_off = self.consumption.cut_off if complete_answers else 0
        good = self.succeeded - cut_off
        # Divided, because 0.07 times 100 is more than 7.
        if good and good / self.requests >= min_success_ratio:
            return ""
        if good:
            said = (
                f"{good:,} of {self.requests:,} requests succeeded, and min_success_ratio requires "
                f"{min_success_ratio:.4g} of them."
            )
        else:
            said = f"None of the {self.requests:,} requests succeeded." if self.requests != 1 else "The request failed."
        if cut_off:
            said += f" Answers that were cut off: {cut_off:,}."
        told = (
            f"{kind.label}: {kind.count:,}" + (f", such as {kind.example!r}: {kind.message}" if kind.message else "")
            for kind in self.by_count
        )
        return "\n".join([said, *told])


def tally_files(paths: Iterable[Path]) -> Tally:
    """Count what is in the result files of a batch, whatever was asked for; a file need not be there."""
    tally = Tally()
    for path in map(Path, paths):
        if not path.exists():
            continue
        with path.open("rb") as lines:
            for line in lines:
                found = read_line(line)
                if found is None:
                    continue
                if found.succeeded:
                    tally.succeeded += 1
                    count_tokens([found], tally.consumption)
                else:
                    tally.add_failure(found.custom_id, line)
    return tally
