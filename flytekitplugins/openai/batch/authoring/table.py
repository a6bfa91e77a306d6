"""Rows as a pandas table, whose column types depend on the model and not on the results."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import date, time, timedelta
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from itertools import chain
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from flytekit import lazy_module

from flytekitplugins.openai.batch.results.row_values import COLUMNS, TOKENS, blocks_of_columns

from .arrow_columns import array_of, exact
from .output_fields import WHOLE

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pydantic
else:
    pa = lazy_module("pyarrow")
    pydantic = lazy_module("pydantic")

__all__ = ["columns_of", "table_of"]

# Fewer take more time, because more arrays are made; more take more memory.
ROWS_AT_ONCE = 1024
# pandas' own types would make 1.0 of a whole number, and an object of a flag, where another row has none.
TYPES = {
    **dict.fromkeys(COLUMNS[:-1], "string"),
    "ok": "bool",
    "status_code": "Int64",
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
PYTHON_TYPES = {
    "bool": frozenset({bool}),
    "boolean": frozenset({bool, NoneType}),
    "Int64": frozenset({int, NoneType}),
    "Float64": frozenset({int, float, NoneType}),
    "string": frozenset({str, NoneType}),
}
# What Arrow knows, by which Flyte hands a table on.
KNOWN_TO_ARROW = (str, int, float, bool, bytes, Decimal, date, time, timedelta, NoneType)
PLAIN = frozenset(KNOWN_TO_ARROW)
# What Arrow or pandas says of a number of more than 64 bits.
TOO_LONG = (OverflowError, TypeError)


def table_of(
    rows: Iterable[tuple[Any, ...]], output_columns: Mapping[str, str | None], *, body: bool = False
) -> pd.DataFrame:
    """A table of the rows.

    Args:
        rows: The values of each row, in the order of `row_values.COLUMNS`, with what a `field_reader` reads of the
            output, and after them the whole answer.
        output_columns: Columns of outputs that are in it whatever the rows have, with their types; `None` is for one
            that only the outputs tell.
        body: Whether the rows have whole answers, and the table gets them.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd  # noqa: PLC0415 (the user's own, if it is there)

    named = {name: _Column(kind) for name, kind in TYPES.items()}
    outputs = {name: _Column(kind) for name, kind in output_columns.items()}
    bodies: list[Mapping[str, Any]] = []
    count = 0
    for columns in blocks_of_columns(rows, ROWS_AT_ONCE):
        if body:
            bodies += columns.pop()
        found = _columns_in(columns.pop())
        for column, values in zip(named.values(), columns, strict=True):
            column.add(values)
        for name in found:
            if name not in outputs:
                outputs[name] = _Column(None)
                outputs[name].add([None] * count)
        size = len(columns[0])
        for name, column in outputs.items():
            column.add_any(found.get(name) or [None] * size)
        count += size
    # One after the other, because each is in memory twice meanwhile.
    all_columns = {**named, **outputs}
    series = {name: column.series() for name, column in all_columns.items()}
    if body:
        series["body"] = pd.Series(bodies, dtype=object)
    # Nobody else has the columns, so they need no copy.
    return pd.DataFrame(series, copy=False)


class _Column:
    """A column while its rows come in: a block is kept in its type, which takes less memory than Python's objects.

    Args:
        kind: The type; `None` if only all values tell it.
    """

    def __init__(self, kind: str | None) -> None:
        self._kind = kind
        self._parts: list[Any] = []

    def add(self, values: Sequence[Any]) -> None:
        """Add the values of more rows, which are of the column's type."""
        import pandas as pd  # noqa: PLC0415 (as above)

        if self._kind in PYTHON_TYPES:
            with suppress(*TOO_LONG):
                self._parts.append(_array_of(values, self._kind))
                return
            # The column is then one of Python's objects.
            self._kind = "object"
        self._parts.append(pd.Series(values, dtype=object))

    def add_any(self, values: Sequence[Any]) -> None:
        """Add the values of more rows, of whatever type."""
        kinds = set(map(type, values))
        if not kinds <= PLAIN:
            values = [*map(_plain, values)]
            kinds = set(map(type, values))
        if self._kind in PYTHON_TYPES and not kinds <= PYTHON_TYPES[self._kind]:
            self._kind = "object"
        self.add(values)

    def series(self) -> pd.Series:
        """All of them; the blocks are gone then."""
        import pandas as pd  # noqa: PLC0415 (as above)

        parts, self._parts = self._parts, []
        if self._kind not in (None, "object"):
            return _series_of(parts, self._kind)
        objects = [None if value is pd.NA else value for part in parts for value in part.tolist()]
        column = pd.Series(objects, dtype=object)
        kind = self._kind or TYPES_BY_CONTENT.get(pd.api.types.infer_dtype(column, skipna=True))
        if kind in PYTHON_TYPES:
            with suppress(*TOO_LONG):
                return _series_of([_array_of(objects, kind)], kind)
        return column


def _array_of(values: Sequence[Any], kind: str) -> Any:
    """An array of the values, for a column of one of pandas' types.

    It is Arrow's where pyarrow is installed, because pandas would look at each value again.
    """
    import pandas as pd  # noqa: PLC0415 (as above)

    if kind == "Float64" and int in map(type, values):
        values = [value if value is None else float(value) for value in values]
    if not _has_arrow():
        return pd.array(values, dtype=kind)
    array = array_of(values, _arrow_type_of(kind))
    return exact(array) if kind == "string" else array


def _series_of(arrays: Sequence[Any], kind: str) -> pd.Series:
    """A column of the values of arrays that `_array_of` made."""
    import pandas as pd  # noqa: PLC0415 (as above)

    if not _has_arrow():
        return pd.concat([*map(pd.Series, arrays or [pd.array([], dtype=kind)])], ignore_index=True)
    values = pa.chunked_array(arrays, type=_arrow_type_of(kind))
    return values.to_pandas(types_mapper={values.type: pd.api.types.pandas_dtype(kind)}.get)


@cache
def _arrow_type_of(kind: str) -> pa.DataType:
    """The Arrow type that pandas itself uses for such a column, so that it converts nothing."""
    import pandas as pd  # noqa: PLC0415 (as above)

    return pa.array(pd.array([], dtype=kind)).type


@cache
def _has_arrow() -> bool:
    return find_spec("pyarrow") is not None


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


def _columns_in(outputs: Sequence[Mapping[Any, Any] | None]) -> dict[str, list[Any]]:
    """The fields of outputs as columns."""
    found = [{} if output is None else output for output in outputs]
    # Most have the same names.
    names = dict.fromkeys(chain.from_iterable(dict.fromkeys(map(tuple, found))))
    return {
        "output" if name is WHOLE else f"output.{_plain(name)}": [each.get(name) for each in found] for name in names
    }


def _plain(value: Any) -> Any:
    """A value as Arrow knows it: an enum as what it stands for, any collection as a list, a URL or the like as text."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, dict):
        return {_plain(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if isinstance(value, KNOWN_TO_ARROW) else str(value)
