"""Rows as a pandas table, whose column types depend on the model and not on the results."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from flytekit import lazy_module

from flytekitplugins.openai._text import whole
from flytekitplugins.openai.batch.results.rows import ResultRow
from flytekitplugins.openai.batch.results.usage import Usage

if TYPE_CHECKING:
    import pandas as pd
    import pydantic
else:
    pydantic = lazy_module("pydantic")

__all__ = ["columns_of", "table_of"]

TOKENS = tuple(vars(Usage()))
# Rows that are Python objects at once; the table itself takes a fraction of that.
ROWS_AT_ONCE = 4096
# pandas' own types would make 1.0 of a whole number, and an object of a flag, where another row has none.
TYPES = {
    "custom_id": "string",
    "ok": "bool",
    "status_code": "Int64",
    "text": "string",
    "finish_reason": "string",
    "error_code": "string",
    "error_message": "string",
    **dict.fromkeys(TOKENS, "Int64"),
}
# Those of outputs: by what the model's field says, or else by what pandas finds in them.
TYPES_BY_ANNOTATION = {bool: "boolean", int: "Int64", float: "Float64", str: "string"}
TYPES_BY_CONTENT = {
    "boolean": "boolean",
    "floating": "Float64",
    "integer": "Int64",
    "mixed-integer-float": "Float64",
    "string": "string",
}
# What Arrow knows, by which Flyte hands a table on.
KNOWN_TO_ARROW = (str, int, float, bytes, Decimal, date, time, timedelta, type(None))


def table_of(
    rows: Iterable[ResultRow[Any]], output_columns: Mapping[str, str | None], *, body: bool = False
) -> pd.DataFrame:
    """A table of the rows.

    Args:
        rows: What comes into it.
        output_columns: Columns of outputs that are in it whatever the rows have, with their types; `None` is for one
            that only the outputs tell.
        body: Whether the whole answers are in it.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd  # noqa: PLC0415 (the user's own, if it is there)

    named = {name: _Column(kind) for name, kind in TYPES.items()}
    outputs = {name: _Column(kind) for name, kind in output_columns.items()}
    bodies: list[Mapping[str, Any]] = []
    rows, count = iter(rows), 0
    while block := list(islice(rows, ROWS_AT_ONCE)):
        for name, column in named.items():
            column.add(_values(block, name))
        found = [_outputs(row.output) for row in block]
        for name in dict.fromkeys(name for each in found for name in each):
            if name not in outputs:
                outputs[name] = _Column(None)
                outputs[name].add([None] * count)
        for name, column in outputs.items():
            column.add([each.get(name) for each in found])
        if body:
            bodies += [row.body for row in block]
        count += len(block)
    # One after the other, because each is in memory twice meanwhile.
    columns = {**named, **outputs}
    series = {name: columns[name].series() for name in columns}
    if body:
        series["body"] = pd.Series(bodies, dtype=object)
    return pd.DataFrame(series)


class _Column:
    """A column while its rows come in: a block is kept in its type, which takes less memory than Python's objects.

    Args:
        kind: The type; `None` if only all values tell it.
    """

    def __init__(self, kind: str | None) -> None:
        self._kind = kind
        self._parts: list[Any] = []

    def add(self, values: list[Any]) -> None:
        """Add the values of more rows."""
        import pandas as pd  # noqa: PLC0415 (as above)

        if self._kind == "Int64" and not all(value is None or -(2**63) <= value < 2**63 for value in values):
            # A whole number can be longer than 64 bits; then they are all Python's.
            self._kind = "object"
        is_typed = self._kind not in (None, "object")
        self._parts.append(pd.array(values, dtype=self._kind) if is_typed else pd.Series(values, dtype=object))

    def series(self) -> pd.Series:
        """All of them; the blocks are gone then."""
        import pandas as pd  # noqa: PLC0415 (as above)

        parts, self._parts = self._parts, []
        if self._kind not in (None, "object"):
            return pd.concat(
                [pd.Series(part) for part in parts] or [pd.Series([], dtype=self._kind)], ignore_index=True
            )
        objects = [value for part in parts for value in part]
        column = pd.Series([None if value is pd.NA else value for value in objects], dtype=object)
        kind = self._kind or TYPES_BY_CONTENT.get(pd.api.types.infer_dtype(column, skipna=True), "object")
        return column.astype(kind) if kind != "Int64" or _fits(column) else column


def _values(rows: Sequence[ResultRow[Any]], name: str) -> list[Any]:
    """The values of a column that all tables have."""
    if name in TOKENS:
        return [None if row.usage is None else getattr(row.usage, name) for row in rows]
    if name == "custom_id":
        return [whole(row.custom_id) for row in rows]
    return [getattr(row, name) for row in rows]


def columns_of(model: Any) -> dict[str, str | None]:
    """The columns for the outputs of a model, and their types, as far as they can be told before there are any."""
    # By its own type, because `list[int]` is a class to Python 3.10.
    if isinstance(model, type(pydantic.BaseModel)) and not issubclass(model, pydantic.RootModel):
        return {f"output.{name}": _type_of(field.annotation) for name, field in model.model_fields.items()}
    return {} if get_origin(model) in (Union, UnionType) else {"output": _type_of(model)}


def _type_of(annotation: Any) -> str | None:
    types = {TYPES_BY_ANNOTATION.get(kind) for kind in _kinds_of(annotation) if kind is not type(None)}
    return types.pop() if len(types) == 1 else None


def _kinds_of(annotation: Any) -> set[Any]:
    """What values of a field may be."""
    if get_origin(annotation) in (Union, UnionType):
        return {kind for choice in get_args(annotation) for kind in _kinds_of(choice)}
    if get_origin(annotation) is Annotated:
        return _kinds_of(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if isinstance(annotation, enum.EnumMeta):
        members: Iterable[Any] = annotation
        return {type(member.value) for member in members}
    return {annotation} if isinstance(annotation, type) and get_origin(annotation) is None else {None}


def _outputs(output: Any) -> dict[str, Any]:
    """The fields of a model's object as columns; a list, or a number, has none, and is a column by itself."""
    if output is None:
        return {}
    if not isinstance(output, pydantic.BaseModel):
        return {"output": _plain(output)}
    dumped = _plain(output.model_dump())
    return (
        {"output": dumped} if isinstance(output, pydantic.RootModel) else {f"output.{n}": v for n, v in dumped.items()}
    )


def _plain(value: Any) -> Any:
    """A value as Arrow knows it: an enum as what it stands for, any collection as a list, a URL or the like as text."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, dict):
        return {_plain(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if isinstance(value, KNOWN_TO_ARROW) else str(value)


def _fits(column: pd.Series) -> bool:
    # A whole number can be longer than 64 bits.
    return all(-(2**63) <= number < 2**63 for number in column.dropna())
