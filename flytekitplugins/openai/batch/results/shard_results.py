"""Finds the results of one shard: the line that came back for a request, wherever it stands in the files."""

from __future__ import annotations

import mmap
import os
from array import array
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import eq
from pathlib import Path
from typing import Any

from .failures import INTERNAL, MISSING, line_in_place_of, missing_line
from .lines import count_tokens, read_answers, read_line
from .usage import Consumption

__all__ = ["BUFFER_BYTES", "LineBuffer", "Outcome", "Row", "ShardResults"]

# Fewer and larger reads and writes make the join twice as fast.
BUFFER_BYTES = 1 << 18


class Outcome:
    """The outcome of a request. The better of two is the greater."""

    MISSING, FAILED, SUCCEEDED = range(3)


# A request's `custom_id`, its outcome, and the line that came back for it: OpenAI's own, or one of ours in its form.
# It is a plain tuple because a named one takes four times as long to make.
Row = tuple[str, int, bytes]


@dataclass(frozen=True)
class _MissingReason:
    """Why requests of a shard have no result.

    Attributes:
        by_line: What OpenAI found wrong with a line, as (code, message) by the line's number.
        otherwise: For all other requests of the shard, the same.
    """

    by_line: Mapping[int, tuple[str, str]]
    otherwise: tuple[str, str]

    @classmethod
    def of(cls, batch: Mapping[str, Any]) -> _MissingReason:
        """By the batch object that the batch step handed on."""
        name = f"batch {batch['id']!r}" if batch.get("id") else "its batch"
        by_line: dict[int, tuple[str, str]] = {}
        for error in (batch.get("errors") or {}).get("data") or ():
            code, message = error.get("code") or INTERNAL, error.get("message") or "no reason given"
            if error.get("line") is None:
                return cls(by_line, (code, message))
            by_line.setdefault(int(error["line"]), (code, message))
        if by_line:
            line = min(by_line)
            reason = f"{name} was refused because of another request, on line {line:,}: {': '.join(by_line[line])}"
        else:
            reason = f"{name} returned nothing for it, and is {batch.get('status') or 'unknown'}"
        return cls(by_line, (MISSING, reason))

    def at(self, line: int) -> tuple[str, str]:
        """Code and message for the request that stands in this line of its shard, counted from 1."""
        return self.by_line.get(line, self.otherwise)


@dataclass
class LineBuffer:
    """Memory for the beginning of an output file, in bytes: to read each line with a call takes longer.

    It is for all shards that are held at once; the first takes it all, and the others do without.
    """

    left: int = 32 * 1024 * 1024

    def take(self) -> int:
        """Take all that is left."""
        taken, self.left = self.left, 0
        return taken


class ShardResults:
    """The results of one shard: where the line of each request stands, and as many lines as the memory holds.

    Args:
        paths: The files that the batch wrote, as downloaded: at most two. They are removed when they have been read.
        batch: The batch object.
        buffer: For the lines that are held.
    """

    def __init__(self, paths: Sequence[Path], batch: Mapping[str, Any], buffer: LineBuffer | None = None) -> None:
        self.consumption = Consumption()
        self.unreadable = 0
        self._paths = paths
        self._buffer = buffer or LineBuffer(0)
        self._taken = self._buffer.take()
        self._absence = _MissingReason.of(batch)
        self._passed = 0
        # The lines by number, through all files: which one came back for a request, where each begins, as if the files
        # were one, and its outcome. 50,000 objects would take ten megabytes.
        self._found: dict[str, int] = {}
        self._starts = array("q", [0])
        self._outcomes = bytearray()
        # Lines in place of unreadable ones, for requests that have no other.
        self._salvaged: dict[str, bytes] = {}
        # Where each file begins.
        self._first_bytes: list[int] = []
        for path in paths:
            self._first_bytes.append(self._starts[-1])
            self._scan(path)
        if batch.get("reused"):
            self.consumption.reused = dict(self.consumption.by_model)
        # Windows would otherwise change the ends of lines.
        self._files = [os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)) for path in paths]
        # All the memory is for the output file; the error file is usually small.
        self._held = _mapped(self._files[0], self._taken) if self._files else b""

    def rows(self, custom_ids: Sequence[str]) -> list[Row]:
        """The results of the shard's next requests."""
        take, starts, outcomes = self._found.pop, self._starts, self._outcomes
        held, held_bytes = self._held, len(self._held)
        first, self._passed = self._passed + 1, self._passed + len(custom_ids)
        rows: list[Row] = []
        for position, custom_id in enumerate(custom_ids, start=first):
            number = take(custom_id, None)
            if number is not None:
                start, end = starts[number], starts[number + 1]
                line = held[start:end] if end <= held_bytes else self._read(start, end)
                rows.append((custom_id, outcomes[number], line))
            elif line := self._salvaged.get(custom_id, b""):
                rows.append((custom_id, Outcome.FAILED, line))
            else:
                line = missing_line(custom_id, *self._absence.at(position))
                rows.append((custom_id, Outcome.MISSING, line))
        if not self._found:
            self.close()
        return rows

    @property
    def unexpected_ids(self) -> list[str]:
        """The `custom_id`s of results that no request asked for."""
        return list(self._found)

    def close(self) -> None:
        """Free the files and the memory. Requests asked for later are missing."""
        if isinstance(self._held, mmap.mmap):
            self._held.close()
        for file in self._files:
            os.close(file)
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._files, self._paths, self._found, self._held = [], [], {}, b""
        self._starts, self._outcomes = array("q"), bytearray()
        self._buffer.left, self._taken = self._buffer.left + self._taken, 0

    def _read(self, start: int, end: int) -> bytes:
        number = bisect(self._first_bytes, start) - 1
        return READ_AT(self._files[number], end - start, start - self._first_bytes[number])

    def _scan(self, path: Path) -> None:
        _end_last_line(path)
        with path.open("rb", BUFFER_BYTES) as file:
            while lines := file.readlines(BUFFER_BYTES):
                if not self._add_answers(lines):
                    for number, line in enumerate(lines, start=len(self._outcomes)):
                        self._outcomes.append(self._add(number, line))
                self._starts.extend(accumulate(map(len, lines), initial=self._starts.pop()))

    def _add_answers(self, lines: Sequence[bytes]) -> bool:
        """Note all lines at once, if each is the first answer to its request. Otherwise each is one for `_add`."""
        answers = read_answers(lines)
        if answers is None:
            return False
        custom_ids = [answer.custom_id for answer in answers]
        numbers = range(len(self._outcomes), len(self._outcomes) + len(answers))
        if not all(map(eq, map(self._found.setdefault, custom_ids, numbers), numbers)):
            return False
        self._outcomes += bytes([Outcome.SUCCEEDED]) * len(answers)
        count_tokens(answers, self.consumption)
        return True

    def _add(self, number: int, line: bytes) -> int:
        """Note a line, if it is the best of its request; returns its outcome."""
        found = read_line(line)
        if found is None:
            if line.strip():
                self.unreadable += 1
                self._salvaged.update([rest] if (rest := line_in_place_of(line)) is not None else [])
            return Outcome.MISSING
        known = self._found.setdefault(found.custom_id, number)
        if not found.succeeded:
            return Outcome.FAILED
        # Of two lines of one request, the one that succeeded is taken.
        if known == number or self._outcomes[known] != Outcome.SUCCEEDED:
            self._found[found.custom_id] = number
            count_tokens([found], self.consumption)
        return Outcome.SUCCEEDED


def seek_and_read(file: int, size: int, offset: int) -> bytes:
    """As `os.pread`, which Windows has not: nobody else reads from this file."""
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, size)


READ_AT = getattr(os, "pread", seek_and_read)


def _mapped(file: int, most: int) -> mmap.mmap | bytes:
    """The first bytes of a file, and no copy of them."""
    size = min(os.fstat(file).st_size, most)
    return mmap.mmap(file, size, access=mmap.ACCESS_READ) if size else b""


def _end_last_line(path: Path) -> None:
    """Its line may come before another in the order of the input."""
    with path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n":
            file.write(b"\n")
