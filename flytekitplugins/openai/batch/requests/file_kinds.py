"""Recognizes a file that is not JSON lines by its first bytes, so that one sentence can say what it is."""

from __future__ import annotations

import codecs
import json

__all__ = ["HEAD", "complaint_about"]

# Bytes to look at.
HEAD = 65_536

# What some editors put before UTF-8, and what means nothing.
# The longer ones first: those of UTF-16 begin in the same way.
_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# This many in a row are no accident.
LETTERS = 3
GZIP = b"\x1f\x8b"
ZIP = b"PK\x03\x04"
PARQUET = b"PAR1"


def complaint_about(head: bytes) -> str | None:
    """What is wrong with an input as a whole, as a predicate; `None` when it can be JSON lines.

    Args:
        head: Its first bytes, `HEAD` of them at least, or all.
    """
    for beginning, kind in ((GZIP, "gzip"), (ZIP, "zip")):
        if head.startswith(beginning):
            return f"is compressed with {kind}; unpack it first"
    if head.startswith(PARQUET):
        return "is a Parquet file; write each request as a line of JSON"
    encoding = _other_encoding(head)
    if encoding is not None:
        return f"is {encoding} text; save it as UTF-8"
    return _other_json(head.removeprefix(codecs.BOM_UTF8))


def _other_encoding(head: bytes) -> str | None:
    for mark, encoding in _ENCODINGS:
        if head.startswith(mark):
            return encoding
    # Without a mark: JSON begins with two characters of ASCII, of which each has one byte that is not zero.
    zeros = [byte == 0 for byte in head[:8]]
    if len(zeros) == 8 and sum(zeros) == 6:
        return "UTF-32"
    return "UTF-16" if len(zeros) == 8 and sum(zeros) == 4 else None


def _other_json(head: bytes) -> str | None:
    first, newline, rest = head.lstrip().partition(b"\n")
    if _are_letters(head):
        return "is a string, read letter by letter; for a file, create the workflow with is_json_iterator=False"
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) or (isinstance(value, list) and rest.strip()):
        # Lines; what is wrong with each is told with its number.
        return None
    if isinstance(value, list) or (first.startswith(b"[") and _goes_on(first)):
        return "is a JSON array; write one request per line"
    # Without a newline in sight it is a long line.
    if newline and first.startswith(b"{") and _goes_on(first):
        return "is JSON over several lines; write one request per line"
    return None


def _are_letters(head: bytes) -> bool:
    """Whether each line is one character, as when flytekit iterates over a file name in place of a list."""
    lines = head.split(b"\n", LETTERS)[:LETTERS]
    try:
        values = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        return False
    return len(values) == LETTERS and all(isinstance(value, str) and len(value) == 1 for value in values)


def _goes_on(line: bytes) -> bool:
    """Whether a line ends as in a document that is printed over several lines, or does not end at all."""
    return line.rstrip()[-1:] in (b"{", b"[", b",", b"") or _is_cut_off(line)


def _is_cut_off(line: bytes) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError as error:
        # Everything was right as far as it went.
        return error.pos >= len(error.doc.rstrip())
    except (ValueError, RecursionError):
        return False
    return False
