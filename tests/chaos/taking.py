"""The producer's log: what was taken, written after the keep-file has it, mended after a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.chaos.waves import row_values, time_ms

__all__ = ["TakenLog", "row_line"]


HEAD = b'{"source": "'


class TakenLog:
    """Appends one JSON line a row, the source first. `counts` tells the rows of each source."""

    def __init__(self, path: Path) -> None:
        self.counts: dict[str, int] = {}
        if path.exists():
            _cut_torn_line(path)
            with path.open("rb") as file:
                for text in file:
                    source = text[len(HEAD) : text.index(b'"', len(HEAD))].decode()
                    self.counts[source] = self.counts.get(source, 0) + 1
        self._file = path.open("a", encoding="utf-8")

    def extend(self, lines: list[dict[str, Any]]) -> None:
        """Write lines in one go; each is the next row of its source."""
        self._file.write("".join(json.dumps(line) + "\n" for line in lines))
        self._file.flush()
        for line in lines:
            self.counts[line["source"]] = self.counts.get(line["source"], 0) + 1

    def count(self, source: str) -> int:
        """How many rows of a source are logged."""
        return self.counts.get(source, 0)


def row_line(source: tuple[int, str], channels: int, *, epoch: str, seq: int, row: int) -> Any:
    """Return the line of a row; `source` is its index and its name."""
    index, name = source
    values = row_values(index, row, channels)
    return {"source": name, "epoch": epoch, "seq": seq, "t_ms": time_ms(row), "values": values}


def _cut_torn_line(path: Path) -> None:
    """Drop what a kill -9 left of a line; the keep-file has the row, so that it is logged again."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        path.write_bytes(data[:whole])
