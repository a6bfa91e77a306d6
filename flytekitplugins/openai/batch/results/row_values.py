"""The values of a row for the columns of a table: of most lines they are read without the row, which costs as much."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from flytekitplugins.openai._text import whole

from .quick_lines import NOT_QUICK, counted_line
from .rows import ResultRow, row_of
from .usage import Usage

__all__ = ["COLUMNS", "TOKENS", "blocks_of_columns", "values_in", "values_of"]

TOKENS = tuple(vars(Usage()))
COLUMNS = ("custom_id", "ok", "status_code", "text", "finish_reason", "error_code", "error_message", *TOKENS, "output")
# Rows that are Python objects at once; the table itself takes a fraction of that.
ROWS_AT_ONCE = 4096
# Thousands of tuples would be work for Python's garbage collector, which leaves so few alone.
ROWS_KEPT = 128
NO_TOKENS = (None,) * len(TOKENS)


def values_of(
    line: bytes, validate: Callable[[str], Any] | None = None, take: Callable[[Any], Any] | None = None
) -> tuple[Any, ...]:
    """The values of a line's row, in the order of `COLUMNS`.

    Args:
        line: The line, of an output or error file.
        validate: As `row_of` takes it.
        take: What is taken of an output in its place. Thousands of plain values cost Python's garbage collector
            nothing, and as many objects of a model half the time.
    """
    found = counted_line(line)
    if found is not None and (text := found.text):
        output = None if validate is None else found.output(text, validate)
        if output is not NOT_QUICK:
            usage = found.response.body.usage
            return (
                found.custom_id,
                True,
                found.response.status_code,
                text,
                found.finish_reason,
                None,
                None,
                *(NO_TOKENS if usage is None else usage.counts or NO_TOKENS),
                output if output is None or take is None else take(output),
            )
    return values_in(row_of(line, validate), take)


def values_in(row: ResultRow[Any], take: Callable[[Any], Any] | None = None) -> tuple[Any, ...]:
    """The same of a row; a text without what a table cannot hold."""
    found = (row.custom_id, row.ok, row.status_code, row.text, row.finish_reason, row.error_code, row.error_message)
    tokens = NO_TOKENS if row.usage is None else vars(row.usage).values()
    output = row.output if row.output is None or take is None else take(row.output)
    return (*(whole(value) if isinstance(value, str) else value for value in found), *tokens, output)


def blocks_of_columns(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[list[Any]]]:
    """The columns of some thousand rows after the other, given the values of each row."""
    rows = iter(rows)
    columns: list[list[Any]] = []
    while some := list(islice(rows, min(ROWS_KEPT, ROWS_AT_ONCE))):
        columns = columns or [[] for _ in some[0]]
        for column, values in zip(columns, zip(*some, strict=True), strict=True):
            column.extend(values)
        if len(columns[0]) >= ROWS_AT_ONCE:
            yield columns
            columns = []
    if columns:
        yield columns
