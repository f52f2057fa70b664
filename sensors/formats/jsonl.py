"""JSON lines: one flat object a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from sensors.errors import RecordingError
from sensors.formats.block import BLOCK_ROWS, Block
from sensors.formats.textfile import open_for_writing, open_text

__all__ = ["column_names", "read_blocks", "read_objects", "write_rows"]

DECODER = msgspec.json.Decoder(dict[str, Any])
ENCODER = msgspec.json.Encoder()


def column_names(path: Path) -> list[str]:
    """Return every key in order of first sight; reads the whole file."""
    return list(dict.fromkeys(key for _, row in read_objects(path) for key in row))


def read_blocks(path: Path, *, names: Sequence[str]) -> Iterator[Block]:
    """Yield the named keys of every object, None where one is absent; raise RecordingError."""
    rows = read_objects(path)
    while batch := list(islice(rows, BLOCK_ROWS)):
        columns = {name: [row.get(name) for _, row in batch] for name in names}
        yield Block([number for number, _ in batch], columns)


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of every line that is not blank; raise RecordingError."""
    with open_text(path) as text:
        for number, line in enumerate(text, 1):
            if line.strip():
                yield number, decoded(line, number=number, path=path)


def decoded(line: str, *, number: int, path: Path) -> dict[str, Any]:
    """Return the line's object; raise RecordingError when it is none."""
    try:
        return DECODER.decode(line)
    except msgspec.DecodeError as error:
        raise RecordingError(path, line=number, expected="a JSON object", got=str(error)) from error


def write_rows(path: Path, *, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write one object a row; None gives null and floats keep every bit."""
    with open_for_writing(path) as text:
        for row in rows:
            text.write(ENCODER.encode(dict(zip(names, row, strict=True))).decode() + "\n")
