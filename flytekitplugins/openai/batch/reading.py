"""Reading what came of a batch, in a task of the user's: a row for each request."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from flytekit import lazy_module

from .container import chunks_of
from .request_lines import whole_lines
from .rows import ResultRow, row_of
from .task import BatchResult

if TYPE_CHECKING:
    import pandas as pd
    import pydantic
else:
    pydantic = lazy_module("pydantic")

__all__ = ["Results", "read_results"]

T = TypeVar("T")
# Of so many things that are wrong with an answer it is told what.
SHOWN = 3
# Columns of whole numbers in which there may be none.
NUMBERS = ("status_code", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


class Results(Iterator[ResultRow[T]], Generic[T]):
    """The rows of a result, one after the other, each once.

    Args:
        rows: The rows.
        columns: Those of a table that are for the outputs.
    """

    def __init__(self, rows: Iterator[ResultRow[T]], columns: Sequence[str] = ()) -> None:
        self._rows = rows
        self._columns = columns

    def __next__(self) -> ResultRow[T]:
        """The next row."""
        return next(self._rows)

    def to_pandas(self) -> pd.DataFrame:
        """All rows that are left, as a table in memory.

        Its columns are `custom_id`, `ok`, `status_code`, `text`, `error_code`, `error_message`, the four kinds of
        tokens, a column such as `output.team` for each field of the model, and `body`.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd  # noqa: PLC0415 (the user's own, if it is there)

        # They are there in a table without rows, too.
        columns = dict.fromkeys([*ResultRow("", ok=False).flat(), *self._columns])
        rows = [row.flat() for row in self]
        columns |= dict.fromkeys(name for row in rows for name in row)
        # The longest comes last.
        columns["body"] = columns.pop("body")
        frame = pd.DataFrame.from_records(rows, columns=list(columns))
        return frame.astype({**dict.fromkeys(NUMBERS, "Int64"), "ok": bool})


@overload
def read_results(result: BatchResult) -> Results[None]: ...
@overload
def read_results(result: BatchResult, model: type[T]) -> Results[T]: ...
def read_results(result: BatchResult, model: Any = None) -> Results[Any]:
    """What came of each request: first those that succeeded, then the others, both in the order of the input.

    The files are read as a stream, from wherever they are; one row is in memory at a time.

    Example:
        >>> for row in read_results(result, Triage):  # doctest: +SKIP
        ...     print(row.custom_id, row.output.team if row.ok else row.error_message)

    Args:
        result: What a workflow of `create_batch`, or a download task, gave.
        model: What was to be written, as JSON: a Pydantic model, or any other type that Pydantic knows. A row then has
            an object of it as its `output`; an answer that does not fit has the error code `invalid_output`.
    """
    if model is None:
        return Results(_rows(result, None))
    return Results(_rows(result, _validator(model)), _columns_of(model))


def _rows(result: BatchResult, validate: Callable[[str], Any] | None) -> Iterator[ResultRow[Any]]:
    for file in (result.output_file, result.error_file):
        if file is None:
            continue
        for block in whole_lines(chunks_of(file), longest=sys.maxsize):
            for line in block.split(b"\n"):
                if line.strip():
                    yield row_of(line, validate)


def _columns_of(model: Any) -> list[str]:
    fields = getattr(model, "model_fields", {"root": None})
    return ["output"] if "root" in fields else [f"output.{name}" for name in fields]


def _validator(model: Any) -> Callable[[str], Any]:
    adapter = pydantic.TypeAdapter(model)

    def validate(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except pydantic.ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            told = [": ".join([*(map(str, problem["loc"])), problem["msg"]]) for problem in problems[:SHOWN]]
            more = f" (and {len(problems) - SHOWN} more)" if len(problems) > SHOWN else ""
            raise ValueError(f"the answer does not fit: {'; '.join(told)}{more}") from None

    return validate
