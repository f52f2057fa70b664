"""Written recordings: columns `time`, one a channel (`name [unit]`), and `label`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from sensors.errors import RecordingError
from sensors.eventtime import iso_of
from sensors.formats import delimited, jsonl, parquet
from sensors.recording import Channel, Recording
from sensors.tablefile import format_of

__all__ = ["write_recording"]


def write_recording(recording: Recording, *, path: Path) -> int:
    """Write a recording as CSV, JSON lines or Parquet by suffix, and return its number of rows.

    `open_recordings` reads it back without a mapping. CSV and JSON lines may end in `.gz`; equal
    recordings give equal bytes. Labels are those of the rows' flags. Raises RecordingError for
    another suffix or a path that cannot be written.
    """
    names = ["time", *map(column_name, recording.channels), "label"]
    rows = Counted(table_rows(recording))
    try:
        match format_of(path):
            case ".parquet":
                parquet.write_rows(path, names=names, text_names=("time", "label"), rows=rows)
            case ".jsonl":
                jsonl.write_rows(path, names=names, rows=rows)
            case _:
                delimited.write_rows(path, names=names, rows=rows)
    except OSError as error:
        raise RecordingError(path, expected="a path to write to", got=str(error)) from error
    return rows.count


class Counted:
    """Passes rows on and counts them."""

    def __init__(self, rows: Iterator[list[object]]) -> None:
        self.rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[list[object]]:
        for row in self.rows:
            self.count += 1
            yield row


def column_name(channel: Channel) -> str:
    """Return `name [unit]`, or the name alone without a unit."""
    return f"{channel.name} [{channel.unit}]" if channel.unit else channel.name


def table_rows(recording: Recording) -> Iterator[list[object]]:
    """Yield time, values (None = missing) and the labels joined by `+` (None = normal)."""
    for chunk in recording.chunks():
        marks = [(kind, flags.tolist()) for (kind, _), flags in chunk.flags.items()]
        for index, (t_us, values) in enumerate(chunk.rows()):
            kinds = dict.fromkeys(kind for kind, flags in marks if flags[index])
            cells = [None if math.isnan(value) else value for value in values]
            yield [iso_of(t_us), *cells, "+".join(kinds) or None]
