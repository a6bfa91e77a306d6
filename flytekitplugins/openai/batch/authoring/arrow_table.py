"""Rows as an Arrow table, whose column types depend on the model and not on the results, and vectors as a matrix."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

from flytekitplugins.openai._text import whole
from flytekitplugins.openai.batch.results.bodies import packed_vector_in
from flytekitplugins.openai.batch.results.rows import ResultRow
from flytekitplugins.openai.batch.results.usage import Usage

from .arrow_columns import FLOAT_BYTES, ArrowColumn

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
else:
    pa = lazy_module("pyarrow")

__all__ = ["arrow_table_of", "matrix_of"]

# Rows that are Python objects at once; the table itself takes a fraction of that.
ROWS_AT_ONCE = 4096
TOKENS = tuple(vars(Usage()))


def arrow_table_of(rows: Iterable[ResultRow[Any]], outputs: Mapping[str, ArrowColumn]) -> pa.Table:
    """A table of the rows.

    Args:
        rows: What comes into it.
        outputs: The columns for the outputs, by `output`, or `output.` and the name of a field.

    Raises:
        ValueError: An output does not fit into its column, such as a number of more than 64 bits.
    """
    named = {
        "custom_id": pa.string(),
        "ok": pa.bool_(),
        "status_code": pa.int64(),
        "text": pa.string(),
        "finish_reason": pa.string(),
        "error_code": pa.string(),
        "error_message": pa.string(),
    }
    fields = {**named, **dict.fromkeys(TOKENS, pa.int64()), **{name: column.type for name, column in outputs.items()}}
    batches = []
    for block in _blocks(rows):
        columns = [pa.array((_plain(getattr(row, name)) for row in block), type=kind) for name, kind in named.items()]
        columns += [pa.array((row.usage and getattr(row.usage, name) for row in block), pa.int64()) for name in TOKENS]
        columns += [column.array(_output_of(row, name) for row in block) for name, column in outputs.items()]
        batches.append(pa.RecordBatch.from_arrays(columns, names=list(fields)))
    return pa.Table.from_batches(batches, schema=pa.schema(fields))


def matrix_of(rows: Iterable[ResultRow[Any]]) -> np.ndarray[Any, Any]:
    """The vectors of the rows as a matrix of 32-bit floats, a line for each row; one without a vector is not-a-number.

    Args:
        rows: Those of requests that embed one text each.

    Raises:
        ImportError: numpy is not installed.
        ValueError: The vectors are not all of one length.
    """
    import numpy as np  # noqa: PLC0415 (the user's own, if it is there)

    packed = [packed_vector_in(row.body) for row in rows]
    lengths = {len(each) for each in packed if each is not None}
    if len(lengths) > 1:
        told = ", ".join(f"{length // FLOAT_BYTES:,}" for length in sorted(lengths))
        raise ValueError(f"The vectors are of different lengths ({told}), and cannot be one matrix.")
    length = next(iter(lengths), 0)
    missing = struct.pack("<f", float("nan")) * (length // FLOAT_BYTES)
    numbers = bytearray().join(missing if each is None else each for each in packed)
    return np.frombuffer(numbers, dtype="<f4").reshape(len(packed), -1 if packed and length else 0)


def _blocks(rows: Iterable[ResultRow[Any]]) -> Iterator[list[ResultRow[Any]]]:
    rows = iter(rows)
    while block := list(islice(rows, ROWS_AT_ONCE)):
        yield block


def _plain(value: Any) -> Any:
    return whole(value) if isinstance(value, str) else value


def _output_of(row: ResultRow[Any], column: str) -> Any:
    _, _, name = column.partition(".")
    return getattr(row.output, name) if name and row.output is not None else row.output
