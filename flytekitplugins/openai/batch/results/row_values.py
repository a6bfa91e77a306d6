"""The values of rows for the columns of a table. Of most lines they are read without making the row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from flytekitplugins.openai._text import whole

from .quick_lines import NOT_QUICK, quick_line
from .rows import ResultRow, row_of
from .usage import Usage

__all__ = ["COLUMNS", "TOKENS", "blocks_of_columns", "values_in", "values_of"]

TOKENS = tuple(vars(Usage()))
COLUMNS = ("custom_id", "ok", "status_code", "text", "finish_reason", "error_code", "error_message", *TOKENS, "output")
# Rows that are tuples at once. Python's garbage collector would look through thousands of them again and again.
ROWS_KEPT = 128
NO_TOKENS = (None,) * len(TOKENS)


def values_of(
    line: bytes, validate: Callable[[str], Any] | None = None, take: Callable[[Any], Any] | None = None
) -> tuple[Any, ...]:
    """The values of a line's row, in the order of `COLUMNS`.

    Args:
        line: The line, of an output or error file.
        validate: As `row_of` takes it.
        take: Makes what is kept of an output. Plain values are best: the garbage collector would look through thousands
            of a model's objects again and again.
    """
    found = quick_line(line)
    if found is not None and (text := found.text):
        output = None if validate is None else found.output(text, validate)
        if output is not NOT_QUICK:
            usage = found.response.body.usage
            read, cached, written, reasoning = NO_TOKENS if usage is None else usage.counts or NO_TOKENS
            return (
                found.custom_id,
                True,
                found.response.status_code,
                text,
                found.finish_reason,
                None,
                None,
                read,
                cached,
                written,
                reasoning,
                output if output is None or take is None else take(output),
            )
    return values_in(row_of(line, validate), take)


def values_in(row: ResultRow[Any], take: Callable[[Any], Any] | None = None) -> tuple[Any, ...]:
    """The values of a row, in the order of `COLUMNS`. Texts are as `whole` makes them."""
    found = (row.custom_id, row.ok, row.status_code, row.text, row.finish_reason, row.error_code, row.error_message)
    tokens = NO_TOKENS if row.usage is None else vars(row.usage).values()
    output = row.output if row.output is None or take is None else take(row.output)
    return (*(whole(value) if isinstance(value, str) else value for value in found), *tokens, output)


def blocks_of_columns(rows: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[list[Any]]]:
    """The columns of the rows, in blocks.

    Args:
        rows: The values of each row, in any order of columns.
        size: How many rows of a block are Python objects at once; the table itself takes a fraction of that.
    """
    rows = iter(rows)
    columns: list[list[Any]] = []
    while some := list(islice(rows, ROWS_KEPT)):
        columns = columns or [[] for _ in some[0]]
        for column, values in zip(columns, zip(*some, strict=True), strict=True):
            column.extend(values)
        if len(columns[0]) >= size:
            yield columns
            columns = []
    if columns:
        yield columns
