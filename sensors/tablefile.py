"""Table files: find the columns that a mapping asks for, and give the file's recordings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from sensors.errors import MappingError, RecordingError
from sensors.formats import delimited, jsonl, parquet
from sensors.formats.block import Block
from sensors.mapping import LabelColumn, Mapping
from sensors.recording import Channel, Chunk, Label, Recording, joined, recording_of
from sensors.table import Table
from wire.topics import safe_name

__all__ = ["SUFFIXES", "format_of", "open_table", "recordings_of", "stem_of"]

NAME_WITH_UNIT = re.compile(r"(?P<name>.+) \[(?P<unit>[^\[\]]*)\]")
SUFFIXES = (".csv", ".txt", ".jsonl", ".parquet")


def stem_of(path: Path) -> str:
    """Return the file's name without `.gz` and the format's suffix."""
    name = path.name.removesuffix(".gz")
    return name.removesuffix(format_of(path))


def format_of(path: Path) -> str:
    """Return the suffix that tells the format; raise RecordingError for another one."""
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in SUFFIXES:
        raise RecordingError(path, expected=f"a file named *{', *'.join(SUFFIXES)}", got=path.name)
    return suffix


def open_table(path: Path, *, mapping: Mapping) -> Table:
    """Check the file's columns against the mapping.

    Raises RecordingError for a missing column or a file that cannot be read.
    """
    present = present_columns(path, mapping=mapping)
    labels = present_labels(mapping, present=present)
    reserved = [
        mapping.time.column_read,
        mapping.asset_column,
        *(label.column for _, label in labels),
    ]
    channels = channels_of(mapping, present=[name for name in present if name not in reserved])
    columns = list(channels.values())
    needed = [name for name in reserved if name is not None] + columns
    check_present(needed, present=present, path=path)
    if not channels:
        raise RecordingError(path, line=1, expected="at least one channel column", got="none")
    return Table(
        path, mapping, tuple(channels), tuple(columns), labels,
        block_reader(path, mapping=mapping, needed=needed),
    )  # fmt: skip


def present_columns(path: Path, *, mapping: Mapping) -> list[str]:
    """Return the names of the file's columns."""
    match format_of(path):
        case ".jsonl":
            return jsonl.column_names(path)
        case ".parquet":
            return parquet.column_names(path)
        case _:
            return delimited.column_names(path, delimiter=mapping.delimiter)


def block_reader(
    path: Path, *, mapping: Mapping, needed: Sequence[str]
) -> Callable[[], Iterator[Block]]:
    """Return the function that opens the file."""
    match format_of(path):
        case ".jsonl":
            return partial(jsonl.read_blocks, path, names=needed)
        case ".parquet":
            return partial(parquet.read_blocks, path)
        case _:
            return partial(delimited.read_blocks, path, delimiter=mapping.delimiter)


def present_labels(
    mapping: Mapping, *, present: Sequence[str]
) -> tuple[tuple[str, LabelColumn], ...]:
    """Return the label columns that the file has."""
    return tuple((k, label) for k, label in mapping.labels.items() if label.column in present)


def channels_of(mapping: Mapping, *, present: Sequence[str]) -> dict[Channel, str]:
    """Return channel -> column, as mapped or, without a mapping, from every free column."""
    if mapping.channels:
        return {Channel(name, c.unit): c.column for name, c in mapping.channels.items()}
    return {named_channel(column): column for column in present}


def named_channel(column: str) -> Channel:
    """Read `name [unit]`; without brackets the unit is unknown."""
    match = NAME_WITH_UNIT.fullmatch(column)
    return Channel(match["name"], match["unit"]) if match else Channel(column)


def check_present(needed: Sequence[str], *, present: Sequence[str], path: Path) -> None:
    """Raise RecordingError for the first needed column that the file lacks."""
    for name in needed:
        if name not in present:
            got = ", ".join(present) or "no columns"
            raise RecordingError(path, line=1, column=name, expected="this column", got=got)


def recordings_of(
    path: Path,
    *,
    mapping: Mapping,
    origin: str | None = None,
    labels: tuple[Label, ...] | None = None,
) -> list[Recording]:
    """Return the file's recordings: one, or one an asset when the mapping has an asset column.

    Raises RecordingError or MappingError. A file with an asset column is read into memory.
    """
    table = open_table(path, mapping=mapping)
    if mapping.asset_column is not None:
        return split_by_asset(table, asset_column=mapping.asset_column, origin=origin or path.name)
    asset = mapping.asset or safe_name(stem_of(path))
    if asset != safe_name(asset):
        raise MappingError(f"key `asset`: expected [A-Za-z0-9._-]{{1,64}}, got {asset!r}")
    return [Recording(asset, table.channels, table.chunks, origin or path.name, labels)]


def split_by_asset(table: Table, *, asset_column: str, origin: str) -> list[Recording]:
    """Return one recording an asset, in order of first sight."""
    parts: dict[str, list[Chunk]] = {}
    for block, chunk in table.blocks():
        names = np.array([safe_name(str(cell)) for cell in block.columns[asset_column]])
        for name in dict.fromkeys(names.tolist()):
            parts.setdefault(name, []).append(chunk.where(names == name))
    prefix = f"{table.mapping.asset}-" if table.mapping.asset else ""
    return [
        recording_of(
            joined(chunks, channel_count=len(table.channels)),
            asset=safe_name(prefix + name),
            channels=table.channels,
            origin=origin,
        )
        for name, chunks in parts.items()
    ]
