"""The order of the requests: which of them succeeded, as runs of successes and failures, each with its length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO, TypeVar

__all__ = ["OrderError", "OrderWriter", "interleave"]

T = TypeVar("T")


class OrderError(ValueError):
    """The order does not match the rows."""


class OrderWriter:
    """Writes the order as lines of JSON, `[succeeded, failed]`: so many of the one, and after them of the other.

    Args:
        target: Where it is written to.
    """

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._succeeded = self._failed = 0

    def add(self, succeeded: bool, count: int = 1) -> None:
        """The outcome of the next requests."""
        if not succeeded:
            self._failed += count
            return
        if self._failed:
            self.flush()
        self._succeeded += count

    def add_all(self, count: int, failed: Iterable[int]) -> None:
        """The outcomes of the next requests.

        Args:
            count: How many requests.
            failed: Which of them failed, counted from 0, in their order.
        """
        passed = 0
        for number in failed:
            if number > passed:
                self.add(True, number - passed)
            self.add(False)
            passed = number + 1
        if count > passed:
            self.add(True, count - passed)

    def flush(self) -> None:
        """Write what was added."""
        if self._succeeded or self._failed:
            self._target.write(b"[%d,%d]\n" % (self._succeeded, self._failed))
        self._succeeded = self._failed = 0


def interleave(order: Iterable[bytes], succeeded: Iterator[T], failed: Iterator[T]) -> Iterator[T]:
    """Rows of successes and of failures in the order of their requests.

    Args:
        order: The lines that an `OrderWriter` wrote.
        succeeded: The rows of the requests that succeeded.
        failed: The rows of the others.

    Raises:
        OrderError: There are more or fewer rows than the order says, or it cannot be read.
    """
    end = object()
    for line in order:
        try:
            lengths = json.loads(line)
            runs = list(zip((succeeded, failed), map(range, lengths), strict=True))
        except (ValueError, TypeError):
            raise OrderError(f"{line[:80]!r} is not a line of an order file") from None
        for rows, length in runs:
            for _ in length:
                row = next(rows, end)
                if row is end:
                    raise OrderError("there are fewer rows than the order file says")
                yield row  # type: ignore[misc]  # which is not the end
    if next(succeeded, end) is not end or next(failed, end) is not end:
        raise OrderError("there are more rows than the order file says")
