"""CSV and other delimited text with a header line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from sensors.errors import RecordingError
from sensors.formats.block import BLOCK_ROWS, Block
from sensors.formats.textfile import open_for_writing, open_text

__all__ = ["column_names", "read_blocks", "write_rows"]

Line = tuple[int, list[str]]


def column_names(path: Path, *, delimiter: str) -> list[str]:
    """Return the header's names; raise RecordingError for an empty file."""
    with open_text(path) as text:
        return header_of(numbered(text, path=path, delimiter=delimiter), path=path)


def read_blocks(path: Path, *, delimiter: str) -> Iterator[Block]:
    """Yield the rows below the header; a row may leave trailing columns out.

    Raises RecordingError for an empty file, a row longer than the header or one that lacks more
    columns than the first row does.
    """
    with open_text(path) as text:
        lines = numbered(text, path=path, delimiter=delimiter)
        header = header_of(lines, path=path)
        width = None
        while batch := list(islice(lines, BLOCK_ROWS)):
            width = width or len(batch[0][1])
            check_widths(batch, width=width, limit=len(header), path=path)
            columns = zip(*(cells for _, cells in batch), strict=True)
            yield Block([number for number, _ in batch], dict(zip(header, columns, strict=False)))


def numbered(text: Iterable[str], *, path: Path, delimiter: str) -> Iterator[Line]:
    """Yield (line number, cells) of every line that is not blank."""
    if delimiter == " ":
        yield from ((n, cells) for n, line in enumerate(text, 1) if (cells := line.split()))
        return
    reader = csv.reader(text, delimiter=delimiter)
    try:
        yield from ((reader.line_num, cells) for cells in reader if cells)
    except csv.Error as error:
        raise RecordingError(
            path, line=reader.line_num, expected="delimited text", got=str(error)
        ) from error


def header_of(lines: Iterator[Line], *, path: Path) -> list[str]:
    """Take the header off the lines; raise RecordingError when there is none or a name repeats."""
    _, header = next(lines, (0, []))
    if not header:
        raise RecordingError(path, line=1, expected="a header line", got="an empty file")
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise RecordingError(
            path, line=1, column=min(repeated), expected="distinct names", got="a repeated one"
        )
    return header


def check_widths(batch: list[Line], *, width: int, limit: int, path: Path) -> None:
    """Raise RecordingError for a row that has not `width` cells, or more than `limit`."""
    for number, cells in batch:
        if len(cells) != width or width > limit:
            raise RecordingError(
                path, line=number, expected=f"{min(width, limit)} cells", got=f"{len(cells)}"
            )


def write_rows(path: Path, *, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file; None gives an empty cell and floats keep every bit."""
    with open_for_writing(path) as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
