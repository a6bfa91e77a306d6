"""Which request of the input went into which shard: the upload's word for what must come back, in the input's order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec

__all__ = ["IndexWriter", "read_index"]

# About how many requests a line of the index holds.
REQUESTS_A_LINE = 1_000


class _Line(msgspec.Struct):
    """A line of the index.

    Attributes:
        custom_ids: Of consecutive requests of the input.
        runs: Where they went: pairs of a shard's number and of how many in a row went there.
    """

    custom_ids: list[str]
    runs: list[tuple[int, int]]


class IndexWriter:
    """Writes an index; what is written is complete after `flush`."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._line = _Line([], [])

    def add(self, shard: int, custom_ids: list[str]) -> None:
        """Add the next requests of the input, which all went into one shard."""
        self._line.custom_ids += custom_ids
        self._line.runs.append((shard, len(custom_ids)))
        if len(self._line.custom_ids) >= REQUESTS_A_LINE:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        if self._line.custom_ids:
            self._target.write(_encoded(self._line) + b"\n")
            self._line = _Line([], [])


def read_index(lines: Iterable[bytes]) -> Iterator[tuple[int, list[str]]]:
    """The shards' numbers and the `custom_id`s in them, in the order of the input."""
    for text in lines:
        line = _decoded(text)
        start = 0
        for shard, count in line.runs:
            yield shard, line.custom_ids[start : start + count]
            start += count


def _encoded(line: _Line) -> bytes:
    try:
        return msgspec.json.encode(line)
    except UnicodeEncodeError:
        # Half of a surrogate pair, which JSON can hold escaped.
        return json.dumps(msgspec.to_builtins(line)).encode()


def _decoded(text: bytes) -> _Line:
    try:
        return msgspec.json.decode(text, type=_Line)
    except msgspec.DecodeError:
        return msgspec.convert(json.loads(text), _Line)
