"""Results in numbers: how many requests succeeded, with what the others failed, and whether that is good enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from flytekitplugins.openai._text import whole

from .result_lines import failure_in, read_line
from .usage import Consumption

__all__ = ["Kind", "Tally", "tally_files"]

# OpenAI has some dozens of codes, all short. What another server takes for one must fit into an output of Flyte's, too.
MOST_KINDS = 200
OTHER_KINDS = "other"
LONGEST_CODE, LONGEST_EXAMPLE, LONGEST_MESSAGE = 100, 200, 1_000


@dataclass
class Kind:
    """The requests that failed with one code: how many, and the first of them, cut to what a page can hold."""

    count: int
    example: str
    message: str
    status: int | None = None


@dataclass
class Tally:
    """How the requests went, in numbers.

    Attributes:
        succeeded: How many were answered.
        kinds: The others by their error's code.
        consumption: The tokens that the answers took.
        run_again: How many requests were run more than once.
        recovered: How many of these succeeded in the end.
    """

    succeeded: int = 0
    consumption: Consumption = field(default_factory=Consumption)
    kinds: dict[str, Kind] = field(default_factory=dict)
    run_again: int = 0
    recovered: int = 0

    def add_failure(self, custom_id: str, line: bytes) -> None:
        """Count a request that did not succeed."""
        failure = failure_in(line)
        code = failure.code[:LONGEST_CODE]
        if code not in self.kinds and len(self.kinds) >= MOST_KINDS:
            code = OTHER_KINDS
        first = Kind(0, whole(custom_id[:LONGEST_EXAMPLE]), failure.message[:LONGEST_MESSAGE], failure.status)
        self.kinds.setdefault(code, first).count += 1

    @property
    def failed(self) -> int:
        """How many were not answered."""
        return sum(kind.count for kind in self.kinds.values())

    @property
    def requests(self) -> int:
        """How many there were."""
        return self.succeeded + self.failed

    @property
    def by_count(self) -> list[tuple[str, Kind]]:
        """The kinds with their codes, the most frequent first."""
        return sorted(self.kinds.items(), key=lambda item: (-item[1].count, item[0]))

    def complaint(self, min_success_ratio: float) -> str:
        """Why this is not good enough, with a line for each error code; "" when it is.

        Args:
            min_success_ratio: The part of the requests that must have succeeded, from 0 to 1. None at all is never
                enough.
        """
        # Divided, because 0.07 times 100 is more than 7.
        if self.succeeded and self.succeeded / self.requests >= min_success_ratio:
            return ""
        if self.succeeded:
            said = (
                f"{self.succeeded:,} of {self.requests:,} requests succeeded, and min_success_ratio asks for "
                f"{min_success_ratio:.4g} of them."
            )
        else:
            said = f"None of the {self.requests:,} requests succeeded."
        told = (f"{code}: {kind.count:,}, such as {kind.example!r}: {kind.message}" for code, kind in self.by_count)
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
                    found.count_in(tally.consumption)
                else:
                    tally.add_failure(found.custom_id, line)
    return tally
