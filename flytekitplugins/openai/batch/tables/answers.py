"""Makes the new columns of a table from the results of its rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

from flytekitplugins.openai.batch.authoring.arrow_columns import ArrowColumn, array_of, columns_of_model, vectors
from flytekitplugins.openai.batch.results.bodies import packed_vector_in, shortcomings
from flytekitplugins.openai.batch.results.rows import INVALID_OUTPUT, ResultRow
from flytekitplugins.openai.batch.results.usage import Usage
from flytekitplugins.openai.exceptions import InvalidInputError

if TYPE_CHECKING:
    import pyarrow as pa
    import pydantic
else:
    pa = lazy_module("pyarrow")

__all__ = ["AnswerColumns"]

ANSWER, EMBEDDING = "answer", "embedding"
ERRORS = ("error_code", "error_message")
TOKENS = tuple(vars(Usage()))


@dataclass(frozen=True)
class AnswerColumns:
    """The columns that are added to a table: the answers, then the errors, and the tokens if they are asked for.

    Attributes:
        output: The model of the answers, each field of which is a column; `None` for a text.
        is_embedding: Whether the answers are vectors.
        prefix: What all their names begin with.
        usage: Whether there are columns of the tokens.
    """

    output: type[pydantic.BaseModel] | None = None
    is_embedding: bool = False
    prefix: str = ""
    usage: bool = False

    @property
    def names(self) -> list[str]:
        """Their names."""
        if self.output is not None:
            answers = list(self.output.model_fields)
        else:
            answers = [EMBEDDING if self.is_embedding else ANSWER]
        return [f"{self.prefix}{name}" for name in [*answers, *ERRORS, *(TOKENS if self.usage else ())]]

    def check(self, names: Sequence[str]) -> None:
        """Check that a table with these columns has none of them.

        Raises:
            InvalidInputError: It has.
        """
        taken = [name for name in self.names if name in names]
        if taken:
            columns = f"{'a column' if len(taken) == 1 else 'columns'} {', '.join(map(repr, taken))}"
            raise InvalidInputError(
                f"The table already has {columns}, like the answers; give the answers other names with prefix='...', "
                "or rename the table's."
            )

    def schema(self, table: pa.Schema) -> pa.Schema:
        """The columns of a table with those of its answers."""
        added = self.of([])
        fields = [pa.field(name, column.type) for name, column in added.items()]
        return pa.schema([*table, *fields], metadata=table.metadata)

    def of(self, rows: Sequence[ResultRow[Any] | None]) -> dict[str, pa.Array]:
        """The columns for these rows, by their names; `None` is for a row that was not asked about."""
        problems: list[str | None] = [None] * len(rows)
        if self.is_embedding:
            columns = [vectors(_values(rows, problems, _vector_of))]
        elif self.output is None:
            columns = [array_of(_values(rows, problems, _text_of), pa.string())]
        else:
            outputs = _values(rows, problems, lambda row: row.output)
            columns = _fields(columns_of_model(self.output), outputs, problems)
        codes = [_code_of(row, problem) for row, problem in zip(rows, problems, strict=True)]
        told = [problem or (row and row.error_message) for row, problem in zip(rows, problems, strict=True)]
        columns += [array_of(codes, pa.string()), array_of(told, pa.string())]
        if self.usage:
            used = [vars(row.usage) if row and row.usage else {} for row in rows]
            columns += [array_of([each.get(name) for each in used], pa.int64()) for name in TOKENS]
        return dict(zip(self.names, columns, strict=True))


def _values(
    rows: Sequence[ResultRow[Any] | None],
    problems: list[str | None],
    value_of: Callable[[ResultRow[Any]], Any],
) -> list[Any]:
    """The answer of each row; a row that was answered and has none gets a problem."""
    values: list[Any] = []
    for number, row in enumerate(rows):
        value = value_of(row) if row is not None and row.ok else None
        if value is None and row is not None and row.ok:
            problems[number] = "; ".join(shortcomings(row.body)) or "the answer has nothing in it"
        values.append(value)
    return values


def _text_of(row: ResultRow[Any]) -> str | None:
    return row.text


def _vector_of(row: ResultRow[Any]) -> bytes | None:
    return packed_vector_in(row.body)


def _code_of(row: ResultRow[Any] | None, problem: str | None) -> str | None:
    if problem is not None:
        return INVALID_OUTPUT
    return None if row is None else row.error_code


def _fields(columns: Mapping[str, ArrowColumn], outputs: list[Any], problems: list[str | None]) -> list[pa.Array]:
    """A column for each field of the answers; an answer that does not fit into them is none, and a problem."""

    def arrays(of: Sequence[Any]) -> list[pa.Array]:
        return [
            column.array([None if output is None else getattr(output, name) for output in of])
            for name, column in columns.items()
        ]

    try:
        return arrays(outputs)
    except ValueError:
        # Seldom: a number of more than 64 bits is one.
        problems[:] = [told or _problem_with(output, arrays) for told, output in zip(problems, outputs, strict=True)]
    return arrays([None if problem else output for problem, output in zip(problems, outputs, strict=True)])


def _problem_with(output: Any, arrays: Callable[[Sequence[Any]], object]) -> str | None:
    try:
        arrays([output])
    except ValueError as error:
        return f"the answer does not fit into the columns: {error}"
    return None
