"""Finds the results of one shard: the line that came back for a request, wherever it stands in the files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .failures import INTERNAL, MISSING, line_in_place_of, missing_line
from .lines import read_line
from .usage import Consumption

__all__ = ["BUFFER_BYTES", "LineBuffer", "Outcome", "Row", "ShardResults"]

# Fewer and larger reads and writes make the join twice as fast.
BUFFER_BYTES = 1 << 18
# Where a line stands, in one number, because 50,000 tuples take ten megabytes: its offset, its size (31 bits), which of
# the two files (1 bit), and whether it succeeded (1 bit).
_OFFSET = 33
_LONGEST = (1 << 31) - 1


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
    """Memory for lines, in bytes. To read each back from its file would take a quarter of the join's time.

    It is for all shards that are held at once; the first takes it all, and the others do without.
    """

    left: int = 32 * 1024 * 1024

    def take(self) -> int:
        """Take all that is left."""
        taken, self.left = self.left, 0
        return taken


class ShardResults:
    """The results of one shard: the first lines themselves, and the places of all others.

    Args:
        paths: The files that the batch wrote, as downloaded: at most two. They are removed when they have been read.
        batch: The batch object.
        buffer: For the lines that are kept.
    """

    def __init__(self, paths: Sequence[Path], batch: Mapping[str, Any], buffer: LineBuffer | None = None) -> None:
        self.consumption = Consumption()
        self.unreadable = 0
        self._paths = paths
        self._buffer = buffer or LineBuffer(0)
        self._kept = self._buffer.take()
        self._absence = _MissingReason.of(batch)
        self._passed = 0
        self._found: dict[str, Row | int] = {}
        # Lines in place of unreadable ones, for requests that have no other.
        self._salvaged: dict[str, bytes] = {}
        for number, path in enumerate(paths):
            self._scan(number, path)
        if batch.get("reused"):
            self.consumption.reused = dict(self.consumption.by_model)
        # Windows would otherwise change the ends of lines.
        self._files = [os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)) for path in paths]

    def rows(self, custom_ids: Sequence[str]) -> list[Row]:
        """The results of the shard's next requests."""
        take, read, files = self._found.pop, READ_AT, self._files
        first, self._passed = self._passed + 1, self._passed + len(custom_ids)
        rows: list[Row] = []
        for position, custom_id in enumerate(custom_ids, start=first):
            found = take(custom_id, None)
            if isinstance(found, tuple):
                rows.append(found)
            elif found is None and (line := self._salvaged.get(custom_id, b"")):
                rows.append((custom_id, Outcome.FAILED, line))
            elif found is None:
                line = missing_line(custom_id, *self._absence.at(position))
                rows.append((custom_id, Outcome.MISSING, line))
            else:
                line = read(files[(found >> 1) & 1], (found >> 2) & _LONGEST, found >> _OFFSET)
                rows.append((custom_id, Outcome.SUCCEEDED if found & 1 else Outcome.FAILED, line))
        if not self._found:
            self.close()
        return rows

    @property
    def unexpected_ids(self) -> list[str]:
        """The `custom_id`s of results that no request asked for."""
        return list(self._found)

    def close(self) -> None:
        """Free the files and the memory. Requests asked for later are missing."""
        for file in self._files:
            os.close(file)
        for path in self._paths:
            path.unlink(missing_ok=True)
        self._files, self._paths, self._found = [], [], {}
        self._buffer.left, self._kept = self._buffer.left + self._kept, 0

    def _scan(self, number: int, path: Path) -> None:
        kept, consumption = self._found, self.consumption
        # All the memory is for the output file; the error file is usually small.
        offset, kept_bytes = 0, self._kept if number == 0 else 0
        _end_last_line(path)
        with path.open("rb", BUFFER_BYTES) as lines:
            for line in lines:
                found = read_line(line)
                if found is not None:
                    custom_id, succeeded = found.custom_id, found.succeeded
                    place: Row | int
                    if offset < kept_bytes:
                        place = custom_id, Outcome.SUCCEEDED if succeeded else Outcome.FAILED, line
                    else:
                        place = offset << _OFFSET | len(line) << 2 | number << 1 | succeeded
                    known = kept.setdefault(custom_id, place)
                    # Of two lines of one request, the one that succeeded is taken.
                    if known is not place and succeeded and not _succeeded(known):
                        kept[custom_id] = known = place
                    if known is place and succeeded:
                        found.count_in(consumption)
                elif line.strip():
                    self.unreadable += 1
                    self._salvaged.update([rest] if (rest := line_in_place_of(line)) is not None else [])
                offset += len(line)


def seek_and_read(file: int, size: int, offset: int) -> bytes:
    """As `os.pread`, which Windows has not: nobody else reads from this file."""
    os.lseek(file, offset, os.SEEK_SET)
    return os.read(file, size)


READ_AT = getattr(os, "pread", seek_and_read)


def _succeeded(found: Row | int) -> bool:
    return bool(found & 1) if isinstance(found, int) else found[1] == Outcome.SUCCEEDED


def _end_last_line(path: Path) -> None:
    """Its line may come before another in the order of the input."""
    with path.open("rb+") as file:
        if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n":
            file.write(b"\n")
