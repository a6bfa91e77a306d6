"""Reads a table of any kind that Flyte knows, and writes one as Parquet, in record batches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from flytekit import FlyteContextManager, StructuredDataset
from fsspec.utils import get_protocol

from flytekitplugins.openai.exceptions import InvalidInputError

__all__ = ["TableReader", "TableWriter"]

# Rows read at once; a million of a kilobyte each are never in memory together.
ROWS_AT_ONCE = 1024
# What a row group of the written file has at most: readers want them large, and one is held in memory.
ROW_GROUP_BYTES, ROW_GROUP_ROWS = 1 << 25, 1 << 17
PARQUET = "parquet"


class TableReader:
    """The rows of a table, in their order. Each iteration reads them again.

    Parquet is read a record batch at a time, from wherever it is, and only the columns that are asked for. What is in
    another format is read by flytekit, as a whole.

    Args:
        table: The table as a step is given it.

    Raises:
        InvalidInputError: flytekit cannot read it.
    """

    def __init__(self, table: StructuredDataset) -> None:
        literal = table.literal
        uri = str(literal.uri if literal else table.uri)
        type_ = literal.metadata.structured_dataset_type if literal and literal.metadata else None
        kind = str((type_.format if type_ else table.file_format) or "")
        self._dataset = _parquet(uri) if kind in ("", PARQUET) else ds.dataset(_as_arrow(table, kind))

    @property
    def schema(self) -> pa.Schema:
        """The columns and their types."""
        return self._dataset.schema

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows, with all columns or some of them."""
        chosen = None if columns is None else list(columns)
        options: dict[str, Any] = {
            "batch_size": ROWS_AT_ONCE,
            "use_threads": False,
            "batch_readahead": 1,
            "fragment_readahead": 1,
        }
        if not isinstance(self._dataset, ds.InMemoryDataset):
            # Without a buffer a whole row group is read first, which pandas makes of a million rows.
            options["fragment_scan_options"] = ds.ParquetFragmentScanOptions(
                use_buffered_stream=True, buffer_size=1 << 20, pre_buffer=False
            )
        yield from self._dataset.to_batches(columns=chosen, **options)


class TableWriter:
    """Writes a table as a Parquet file, a row group at a time.

    Args:
        directory: Where the file goes, which is then the table.
        schema: The columns and their types.
    """

    def __init__(self, directory: Path, schema: pa.Schema) -> None:
        directory.mkdir()
        self._directory = directory
        self._schema = schema
        # By the name that flytekit gives its own.
        self._writer = pq.ParquetWriter(str(directory / "00000"), schema)
        self._pending: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows."""
        self._pending.append(batch)
        rows, size = sum(each.num_rows for each in self._pending), sum(each.nbytes for each in self._pending)
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            self._flush()

    def table(self) -> StructuredDataset:
        """The table, once all rows are written."""
        self._flush()
        self._writer.close()
        return StructuredDataset(uri=str(self._directory), file_format=PARQUET)

    def _flush(self) -> None:
        if self._pending:
            self._writer.write_table(pa.Table.from_batches(self._pending, schema=self._schema))
        self._pending = []
        # Arrow's allocator keeps the memory that is freed: up to that of two row groups.
        pa.default_memory_pool().release_unused()

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def _parquet(uri: str) -> ds.Dataset:
    file_access = FlyteContextManager.current_context().file_access
    filesystem = file_access.get_filesystem_for_path(uri)
    path = filesystem._strip_protocol(uri)  # noqa: SLF001 (fsspec has no other name for it, and pandas calls it, too)
    if get_protocol(uri) == "file":
        return ds.dataset(path, format=PARQUET, partitioning="hive")
    return ds.dataset(path, format=PARQUET, partitioning="hive", filesystem=filesystem)


def _as_arrow(table: StructuredDataset, kind: str) -> pa.Table:
    """A table in a format that flytekit reads: by its reader for Arrow, or by that for pandas."""
    with contextlib.suppress(ValueError):
        return table.open(pa.Table).all()
    try:
        import pandas as pd  # noqa: PLC0415 (the user's own, if it is there)

        return pa.Table.from_pandas(table.open(pd.DataFrame).all())
    except (ImportError, ValueError) as error:
        raise InvalidInputError(
            f"The table is in the format {kind!r}, which flytekit cannot read here: {str(error).rstrip('.')}."
        ) from None
