"""Bytes cut at the ends of lines."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

__all__ = ["LineTooLongError", "whole_lines"]


class LineTooLongError(Exception):
    """A line is longer than allowed."""


def whole_lines(chunks: Iterable[bytes], *, longest: int) -> Iterator[bytes]:
    """The chunks, cut at the ends of lines; a last line without a newline gets one.

    A byte order mark at the beginning is dropped.

    Lines are ended by newlines alone: the separators of Unicode that `str.splitlines` knows may stand within JSON.

    Raises:
        LineTooLongError: A line has more bytes than `longest`, by more than a chunk.
    """
    begun: list[bytes] = []
    size = 0
    chunks = iter(chunks)
    for chunk in chain([next(chunks, b"").removeprefix(codecs.BOM_UTF8)], chunks):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join([*begun, chunk[:end]]) if begun else chunk[:end]
            begun, size = [], 0
        begun.append(chunk[end:])
        size += len(chunk) - end
        if size > longest:
            raise LineTooLongError
    rest = b"".join(begun)
    if rest:
        yield rest + b"\n"
