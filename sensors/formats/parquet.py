"""Parquet files, by pyarrow (extra `parquet`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sensors.errors import RecordingError
from sensors.formats.block import BLOCK_ROWS, Block

__all__ = ["column_names", "read_blocks", "write_rows"]


def column_names(path: Path) -> list[str]:
    """Return the schema's names; raise RecordingError for a file that is not Parquet."""
    return list(opened(path).schema_arrow.names)


def read_blocks(path: Path) -> Iterator[Block]:
    """Yield the rows; times come as datetimes in microseconds. Raises RecordingError."""
    first = 1
    for batch in opened(path).iter_batches(batch_size=BLOCK_ROWS):
        columns = {name: cells_of(batch.column(name)) for name in batch.schema.names}
        yield Block(range(first, first + batch.num_rows), columns)
        first += batch.num_rows


def opened(path: Path) -> Any:
    """Open the file; raise RecordingError when it cannot be, or pyarrow is not installed."""
    pa = pyarrow(path)
    try:
        return pa.parquet.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise RecordingError(path, expected="a Parquet file", got=str(error)) from error


def pyarrow(path: Path) -> Any:
    """Return the pyarrow module; raise RecordingError naming the extra that brings it."""
    try:
        import pyarrow as pa  # noqa: PLC0415  # an optional extra
        import pyarrow.parquet  # noqa: PLC0415  # as above
    except ImportError as error:
        raise RecordingError(
            path, expected="pyarrow (pip install 'vedette[parquet]')", got="no pyarrow"
        ) from error
    return pa


def cells_of(column: Any) -> list[object]:
    """Return the cells as Python values, nanosecond times cut to microseconds."""
    import pyarrow as pa  # noqa: PLC0415  # an optional extra

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
    cells: list[object] = column.to_pylist()
    return cells


def write_rows(
    path: Path,
    *,
    names: Sequence[str],
    text_names: Sequence[str],
    rows: Iterable[Sequence[object]],
) -> None:
    """Write a Parquet file of text and float64 columns; None gives null."""
    pa = pyarrow(path)
    kinds = [pa.string() if name in text_names else pa.float64() for name in names]
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    remaining = iter(rows)
    with pa.parquet.ParquetWriter(path, schema) as writer:
        while batch := list(islice(remaining, BLOCK_ROWS)):
            cells = zip(*batch, strict=True)
            arrays = [pa.array(c, kind) for c, kind in zip(cells, kinds, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
