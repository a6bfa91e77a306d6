"""Rows as a pandas table, with columns of types that do not depend on what came back."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

from .rows import ResultRow
from .usage import Usage

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
    "error_code": "string",
    "error_message": "string",
    **dict.fromkeys(vars(Usage()), "Int64"),
}
# Those of outputs, by what pandas finds in them.
TYPES_OF_OUTPUTS = {
    "boolean": "boolean",
    "floating": "Float64",
    "integer": "Int64",
    "mixed-integer-float": "Float64",
    "string": "string",
}


def table_of(rows: Iterable[ResultRow[Any]], output_columns: Sequence[str], *, body: bool = False) -> pd.DataFrame:
    """A table of the rows.

    Args:
        rows: What comes into it.
        output_columns: Columns of outputs that are in it whatever the rows have.
        body: Whether the whole answers are in it.

    Raises:
        ImportError: pandas is not installed.
    """
    import pandas as pd  # noqa: PLC0415 (the user's own, if it is there)

    records = [_record(row, body=body) for row in rows]
    outputs = dict.fromkeys([*output_columns, *(name for record in records for name in record["outputs"])])
    columns = {name: [record["named"][name] for record in records] for name in TYPES}
    columns |= {name: [record["outputs"].get(name) for record in records] for name in outputs}
    if body:
        columns["body"] = [record["body"] for record in records]
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    found = {
        name: TYPES_OF_OUTPUTS.get(pd.api.types.infer_dtype(frame[name], skipna=True), "object") for name in outputs
    }
    types = {**TYPES, **found}
    return frame.astype({name: kind for name, kind in types.items() if _fits(frame[name], kind)})


def columns_of(model: Any) -> list[str]:
    """The columns for the outputs of a model, as far as they can be told before there are any."""
    if not isinstance(model, type):
        return []
    if issubclass(model, pydantic.BaseModel) and not issubclass(model, pydantic.RootModel):
        return [f"output.{name}" for name in model.model_fields]
    return ["output"]


def _record(row: ResultRow[Any], *, body: bool) -> dict[str, Mapping[str, Any]]:
    usage = dict.fromkeys(vars(Usage())) if row.usage is None else vars(row.usage)
    named = {name: getattr(row, name) for name in TYPES if name not in usage}
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
    """A value with its enums as what they stand for: Arrow, by which Flyte hands a table on, knows none."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _fits(column: pd.Series, kind: str) -> bool:
    # A whole number can be longer than 64 bits.
    return kind != "Int64" or all(-(2**63) <= number < 2**63 for number in column.dropna())
