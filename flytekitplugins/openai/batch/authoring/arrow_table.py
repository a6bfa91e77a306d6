"""Rows as an Arrow table, whose column types depend on the model and not on the results, and vectors as a matrix."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from flytekit import lazy_module

from flytekitplugins.openai.batch.results.bodies import packed_vector_in
from flytekitplugins.openai.batch.results.row_values import COLUMNS, TOKENS, blocks_of_columns
from flytekitplugins.openai.batch.results.rows import ResultRow

from .arrow_columns import FLOAT_BYTES, ArrowColumn, array_of, exact

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
else:
    pa = lazy_module("pyarrow")

__all__ = ["arrow_table_of", "matrix_of", "part_reader"]

# More of them take more memory, and no less time.
ROWS_AT_ONCE = 1024


def arrow_table_of(rows: Iterable[tuple[Any, ...]], outputs: Mapping[str, ArrowColumn]) -> pa.Table:
    """A table of the rows.

    Args:
        rows: The values of each row, in the order of `row_values.COLUMNS`, with what a `part_reader` reads of the
            output.
        outputs: The columns for the outputs, by `output`, or `output.` and the name of a field.

    Raises:
        ValueError: An output does not fit into its column, such as a number of more than 64 bits.
    """
    types = {name: pa.string() for name in COLUMNS[:-1]}
    types |= {"ok": pa.bool_(), "status_code": pa.int64(), **dict.fromkeys(TOKENS, pa.int64())}
    fields = {**types, **{name: column.type for name, column in outputs.items()}}
    batches = []
    for *columns, found in blocks_of_columns(rows, ROWS_AT_ONCE):
        arrays = [*map(array_of, columns, types.values())]
        for number, (name, column) in enumerate(outputs.items()):
            arrays.append(_array_of(name, column, [None if parts is None else parts[number] for parts in found]))
        batches.append(pa.RecordBatch.from_arrays([*map(exact, arrays)], names=list(fields)))
    return pa.Table.from_batches(batches, schema=pa.schema(fields))


def _array_of(name: str, column: ArrowColumn, values: Sequence[Any]) -> pa.Array:
    try:
        return column.array(values)
    except ValueError as error:
        raise ValueError(
            f"An answer does not fit into the column {name!r}, which is of type {column.type}: {error}; give the field "
            "another type, or use to_pandas."
        ) from None


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


def part_reader(outputs: Mapping[str, ArrowColumn]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that reads what the columns show of an output: its fields, or all of it.

    Args:
        outputs: As `arrow_table_of` takes them.
    """
    names = [name.partition(".")[2] for name in outputs]
    if not all(names):
        return lambda output: (output,)
    if len(names) > 1 and not any("." in name for name in names):
        return attrgetter(*names)
    # A field of one name, or with a dot, which would be a path.
    return lambda output: tuple(getattr(output, name) for name in names)
