"""Reads the results of a batch in a user's own task: a row for each request."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from flytekit import lazy_module

from flytekitplugins.openai._lines import whole_lines
from flytekitplugins.openai.batch.container.tasks import chunks_of
from flytekitplugins.openai.batch.results.order import OrderError, interleave
from flytekitplugins.openai.batch.results.row_values import values_in, values_of
from flytekitplugins.openai.batch.results.rows import ResultRow, row_of
from flytekitplugins.openai.batch.task import BatchResult
from flytekitplugins.openai.exceptions import InconsistentError

from .arrow_columns import columns_of_output
from .arrow_table import arrow_table_of, matrix_of, part_reader
from .output_fields import field_reader
from .table import columns_of, table_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pydantic
    from flytekit.types.file import JSONLFile
else:
    pydantic = lazy_module("pydantic")

__all__ = ["Results", "read_results"]

T = TypeVar("T")
# How many problems with an answer an error lists.
PROBLEMS_TOLD = 3


class Results(Iterable[ResultRow[T]], Generic[T]):
    """The rows of a result. Each iteration reads the files again.

    Args:
        lines: Reads the lines.
        validate: As `row_of` takes it.
        model: What the outputs are, as it was given to `read_results`.
    """

    def __init__(
        self, lines: Callable[[], Generator[bytes, None, None]], validate: Callable[[str], T] | None, model: Any
    ) -> None:
        self._lines = lines
        self._validate = validate
        self._model = model

    def __iter__(self) -> Generator[ResultRow[T], None, None]:
        """The rows, from the first one. Call `close` to close the file before the last row."""
        with closing(self._lines()) as lines:
            for line in lines:
                yield row_of(line, self._validate)

    def to_pandas(self, *, body: bool = False) -> pd.DataFrame:
        """All rows as a table in memory.

        Its columns are `custom_id`, `ok`, `status_code`, `text`, `error_code`, `error_message`, the four kinds of
        tokens, and a column such as `output.team` for each field of a Pydantic model; any other output is the column
        `output`. Numbers, flags and texts have pandas' types that know a missing value.

        Args:
            body: Add the whole answers, as dictionaries in a last column. They take most of the memory.

        Raises:
            ImportError: pandas is not installed.
        """
        columns = {} if self._model is None else columns_of(self._model)
        read = field_reader()
        rows = ((*values_in(row, read), row.body) for row in self) if body else self._values(read)
        return table_of(rows, columns, body=body)

    def to_arrow(self) -> pa.Table:
        """All rows as an Arrow table in memory, with the columns of `to_pandas` but for the whole answers.

        The types of the outputs are those of the model's fields: a `Literal` or an enum is a category, a collection a
        list, and a model a struct.

        Raises:
            ImportError: pyarrow is not installed.
            ValueError: An output does not fit into its column, such as a number of more than 64 bits.
        """
        columns = columns_of_output(self._model)
        return arrow_table_of(self._values(part_reader(columns)), columns)

    def to_numpy(self) -> np.ndarray[Any, Any]:
        """The vectors of all rows, as a matrix of 32-bit floats with a line for each.

        A row without a vector, because its request failed, is a line of not-a-number.

        Raises:
            ImportError: numpy is not installed.
            ValueError: The vectors are not all of one length.
        """
        return matrix_of(self)

    def _values(self, take: Callable[[Any], Any]) -> Generator[tuple[Any, ...], None, None]:
        """As `row_values.values_of` reads them."""
        with closing(self._lines()) as lines:
            for line in lines:
                yield values_of(line, self._validate, take)


@overload
def read_results(result: BatchResult, model: None = None) -> Results[None]: ...
@overload
def read_results(result: BatchResult, model: type[T]) -> Results[T]: ...
@overload
def read_results(result: BatchResult, model: Any) -> Results[Any]: ...
def read_results(result: BatchResult, model: Any = None) -> Results[Any]:
    """The result of each request, in input order.

    Without an `order_file`, as for a single file, those that succeeded come first, then the others.
    The files are read as a stream, from wherever they are; one row is in memory at a time.

    Examples:
        >>> for row in read_results(result, Triage):  # doctest: +SKIP
        ...     print(row.custom_id, row.output.team if row.output else row.error_message)

    Args:
        result: What a workflow of `create_batch`, or a download task, gave.
        model: What was to be written, as JSON: a Pydantic model, or any other type that Pydantic knows. A row then has
            an object of it as its `output`; an answer that does not fit has the error code `invalid_output`.

    Raises:
        TypeError: `result` is no `BatchResult`, or `model` no type that Pydantic knows.
    """
    if not isinstance(result, BatchResult):
        raise TypeError(f"read_results takes the BatchResult of a batch workflow, not {result!r}.")
    validate = None if model is None else _validator(model)
    return Results(lambda: _lines_of(result), validate, model)


def _lines_of(result: BatchResult) -> Generator[bytes, None, None]:
    succeeded, failed, order = map(_lines, (result.output_file, result.error_file, result.order_file))
    lines = chain(succeeded, failed) if result.order_file is None else interleave(order, succeeded, failed)
    with closing(succeeded), closing(failed), closing(order):
        try:
            yield from lines
        except OrderError as error:
            raise InconsistentError(f"The files of the result do not belong together: {error}.") from None


def _lines(file: JSONLFile | None) -> Generator[bytes, None, None]:
    if file is not None:
        for block in whole_lines(chunks_of(file), longest=sys.maxsize):
            yield from filter(bytes.strip, block.split(b"\n"))


def _validator(model: Any) -> Callable[[str], Any]:
    if isinstance(model, str | Mapping | pydantic.BaseModel):
        raise TypeError(f"model must be a type, such as the class of a Pydantic model, not {model!r}.")
    try:
        adapter = pydantic.TypeAdapter(model)
        # A model with an unresolved reference can be built, and would fail with each answer.
        adapter.rebuild(raise_errors=True)
    except (pydantic.PydanticUserError, pydantic.PydanticUndefinedAnnotation) as error:
        raise TypeError(f"model must be a type that Pydantic supports, not {model!r}: {error.message}") from None

    # As the adapter's own `validate_json`, which takes half as long again to pass on its arguments.
    validate_json = adapter.validator.validate_json

    def validate(text: str) -> Any:
        try:
            return validate_json(text)
        except pydantic.ValidationError as error:
            raise ValueError(f"the answer does not match the model: {_told(error)}") from None
        except Exception as error:  # noqa: BLE001 (whatever a validator of the user's raises is this answer's alone)
            raise ValueError(f"the answer does not match the model: {type(error).__name__}: {error}") from None

    return validate


def _told(error: pydantic.ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    told = [": ".join([*(map(str, problem["loc"])), problem["msg"]]) for problem in problems[:PROBLEMS_TOLD]]
    more = f" (and {len(problems) - PROBLEMS_TOLD} more)" if len(problems) > PROBLEMS_TOLD else ""
    return f"{'; '.join(told)}{more}"
