"""A table: one file read through a mapping, as chunks of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sensors.errors import MappingError, RecordingError
from sensors.eventtime import time_parser
from sensors.formats.block import Block
from sensors.mapping import LabelColumn, Mapping
from sensors.recording import Channel, Chunk

__all__ = ["Table"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Table:
    """A file and what its columns mean; `columns[i]` holds `channels[i]`."""

    path: Path
    mapping: Mapping
    channels: tuple[Channel, ...]
    columns: tuple[str, ...]
    labels: tuple[tuple[str, LabelColumn], ...]
    """(kind, column) of every label column that the file has."""
    read_blocks: Callable[[], Iterator[Block]]
    """Opens the file."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield the file's rows; raise RecordingError naming line and column of a bad cell."""
        return (chunk for _, chunk in self.blocks())

    def blocks(self) -> Iterator[tuple[Block, Chunk]]:
        """Yield the chunks beside the cells that they were read from."""
        times = self.time_reader()
        for block in self.read_blocks():
            yield block, Chunk(times(block), self.values(block), self.flags(block))

    def time_reader(self) -> Callable[[Block], NDArray[np.int64]]:
        """Return the function from a block to its event times; call it on blocks in order."""
        time = self.mapping.time
        column = time.column_read
        try:
            if time.period_s is None:
                parse = time_parser(time.format, zone=time.zone)
            else:
                start_us = time_parser("iso")(time.start)
                parse = partial(period_us, start_us=start_us, period_us=time.period_s * 1e6)
        except ValueError as error:
            raise MappingError(f"{self.path}: table `time`: {error}") from error
        if column is None:
            return RowTimes(parse)
        return partial(self.times, column=column, parse=parse)

    def times(
        self, block: Block, *, column: str, parse: Callable[[object], int]
    ) -> NDArray[np.int64]:
        """Return the event times that the column holds, in file order."""
        time = self.mapping.time
        expected = f"a time ({time.format})" if time.period_s is None else "a number of periods"
        cells = self.convert(block, column=column, expected=expected, parse=parse)
        return np.array(cells, dtype=np.int64)

    def values(self, block: Block) -> NDArray[np.float64]:
        """Return [rows, channels]; missing cells are NaN."""
        parse = partial(number, missing=frozenset((None, *self.mapping.missing)))
        values = np.empty((len(block.lines), len(self.columns)))
        for index, column in enumerate(self.columns):
            values[:, index] = self.convert(block, column=column, expected="a number", parse=parse)
        return values

    def convert(
        self, block: Block, *, column: str, expected: str, parse: Callable[[object], T]
    ) -> list[T]:
        """Parse every cell of a column; raise RecordingError for the first that cannot be."""
        cells = block.columns[column]
        parsed: list[T] = []
        try:
            parsed.extend(map(parse, cells))
        except (ValueError, TypeError, OverflowError) as error:
            row = len(parsed)
            raise RecordingError(
                self.path,
                line=block.lines[row],
                column=column,
                expected=expected,
                got=repr(cells[row]),
            ) from error
        return parsed

    def flags(self, block: Block) -> dict[tuple[str, str | None], NDArray[np.bool_]]:
        """Return which rows carry which label; kinds that no row carries are left out."""
        found: dict[tuple[str, str | None], NDArray[np.bool_]] = {}
        for kind, label in self.labels:
            normal = frozenset((None, *self.mapping.missing, *label.clear))
            for row, cell in enumerate(block.columns[label.column]):
                for name in kinds_of(cell, kind=kind, normal=normal):
                    rows = found.setdefault((name, label.channel), np.zeros(len(block.lines), bool))
                    rows[row] = True
        return found


class RowTimes:
    """Event times of a recording without times: one period after another."""

    def __init__(self, parse: Callable[[object], int]) -> None:
        self.parse = parse
        self.rows = 0

    def __call__(self, block: Block) -> NDArray[np.int64]:
        rows = range(self.rows, self.rows + len(block.lines))
        self.rows = rows.stop
        return np.array([self.parse(row) for row in rows], dtype=np.int64)


def period_us(cell: object, *, start_us: int, period_us: float) -> int:
    """Return the time of the period with this number."""
    return start_us + round(float(cell) * period_us)  # type: ignore[arg-type]  # TypeError is the contract


def number(cell: object, *, missing: frozenset[object]) -> float:
    """Return the cell's number, NaN when it is missing."""
    return float("nan") if cell in missing else float(cell)  # type: ignore[arg-type]  # TypeError is the contract


def kinds_of(cell: object, *, kind: str, normal: frozenset[object]) -> Sequence[str]:
    """Return the label kinds that a cell stands for."""
    if cell in normal or cell == 0:
        return ()
    if not isinstance(cell, str) or is_number(cell) or cell.lower() == "true":
        return (kind,)
    return cell.split("+")


def is_number(text: str) -> bool:
    """Tell whether the text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
