"""Rows as a pandas table, whose column types depend on the model and not on the results."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
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

# pandas' own types would make 1.0 of a whole number, and an object of a flag, where another row has none.
TYPES = {
    "custom_id": "string",
    "ok": "bool",
    "status_code": "Int64",
    "text": "string",
    "finish_reason": "string",
    "error_code": "string",
    "error_message": "string",
    **dict.fromkeys(vars(Usage()), "Int64"),
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

    records = [_record(row, body=body) for row in rows]
    found = dict.fromkeys(name for record in records for name in record["outputs"])
    outputs = {**output_columns, **{name: output_columns.get(name) for name in found}}
    columns = {name: [record["named"][name] for record in records] for name in TYPES}
    columns |= {name: [record["outputs"].get(name) for record in records] for name in outputs}
    if body:
        columns["body"] = [record["body"] for record in records]
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    inferred = {name: pd.api.types.infer_dtype(frame[name], skipna=True) for name in outputs}
    types = {**TYPES, **{n: kind or TYPES_BY_CONTENT.get(inferred[n], "object") for n, kind in outputs.items()}}
    return frame.astype({name: kind for name, kind in types.items() if _fits(frame[name], kind)})


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


def _record(row: ResultRow[Any], *, body: bool) -> dict[str, Mapping[str, Any]]:
    usage = dict.fromkeys(vars(Usage())) if row.usage is None else vars(row.usage)
    named = {name: getattr(row, name) for name in TYPES if name not in usage}
    named["custom_id"] = whole(row.custom_id)
    return {"named": {**named, **usage}, "outputs": _outputs(row.output), "body": row.body if body else {}}


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


def _fits(column: pd.Series, kind: str) -> bool:
    # A whole number can be longer than 64 bits.
    return kind != "Int64" or all(-(2**63) <= number < 2**63 for number in column.dropna())
