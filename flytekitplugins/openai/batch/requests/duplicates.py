"""Finds repeated `custom_id`s among a million in little memory."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec

__all__ = ["UniqueIds", "find_repetitions"]

# Hashes are kept in buckets by their last bits, and each bucket is checked by itself.
BUCKETS = 256
# Hashes in memory before they are written to the disk: a megabyte.
MOST_IN_MEMORY = 131_072
# Ids that are repeated more often than this are not all looked for.
MOST_SUSPECTS = 10_000


class UniqueIds:
    """Keeps the 64-bit hash of every id. Two ids with one hash are only candidates for duplicates."""

    def __init__(self) -> None:
        self._buckets = [array("q") for _ in range(BUCKETS)]
        self._append = [bucket.append for bucket in self._buckets]
        self._waiting = 0
        self._directory: tempfile.TemporaryDirectory[str] | None = None

    def add(self, custom_ids: list[str]) -> None:
        """Add more ids."""
        append, last = self._append, BUCKETS - 1
        for custom_id in custom_ids:
            hashed = hash(custom_id)
            append[hashed & last](hashed)
        self._waiting += len(custom_ids)
        if self._waiting > MOST_IN_MEMORY:
            self._spill()

    def repeated(self) -> tuple[set[int], int]:
        """Hashes that occur more than once, at most 10,000 of them; and the number of repetitions."""
        suspects: set[int] = set()
        count = 0
        for number, waiting in enumerate(self._buckets):
            hashes = self._spilled(number)
            hashes.extend(waiting)
            distinct = set(hashes)
            count += len(hashes) - len(distinct)
            if len(distinct) < len(hashes) and len(suspects) < MOST_SUSPECTS:
                for hashed in hashes:
                    if hashed in distinct:
                        distinct.discard(hashed)
                    else:
                        suspects.add(hashed)
        return suspects, count

    def _spill(self) -> None:
        self._directory = self._directory or tempfile.TemporaryDirectory(prefix="custom-ids-")
        for number, bucket in enumerate(self._buckets):
            with self._path(number).open("ab") as target:
                bucket.tofile(target)
            # Emptied in place: its `append` is kept.
            del bucket[:]
        self._waiting = 0

    def _spilled(self, number: int) -> array[int]:
        hashes = array("q")
        if self._directory is not None:
            hashes.frombytes(self._path(number).read_bytes())
        return hashes

    def _path(self, number: int) -> Path:
        assert self._directory is not None  # noqa: S101 (both callers have just made sure)
        return Path(self._directory.name, f"{number:03}")

    def __enter__(self) -> UniqueIds:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._directory is not None:
            self._directory.cleanup()


class _Identified(msgspec.Struct):
    custom_id: str


def find_repetitions(suspects: set[int], blocks: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    """Each repetition of an id with one of these hashes: its line number, the id, and the line that it repeats."""
    first: dict[str, int] = {}
    line_number = 0
    for block in blocks:
        for line in block.split(b"\n")[:-1]:
            line_number += 1
            custom_id = _custom_id(line)
            if custom_id is None or hash(custom_id) not in suspects:
                continue
            earlier = first.setdefault(custom_id, line_number)
            if earlier != line_number:
                yield line_number, f"{custom_id!r} is already on line {earlier:,}"


def _custom_id(line: bytes) -> str | None:
    try:
        return msgspec.json.decode(line, type=_Identified).custom_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    try:
        request = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    custom_id = request.get("custom_id") if isinstance(request, dict) else None
    return custom_id if isinstance(custom_id, str) else None
