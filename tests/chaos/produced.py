"""What the producers took: their own log, one JSON line a row, read without the product's code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GapRange", "Produced", "SourceRows", "read_log"]


@dataclass(frozen=True, slots=True)
class GapRange:
    """Messages of one source that somebody reported as lost."""

    source: str
    epoch: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class SourceRows:
    """The rows of one source in the order in which they were taken."""

    epoch: NDArray[np.str_]
    """[n] epoch of each row."""
    seq: NDArray[np.int64]
    """[n] sequence number of each row in its epoch."""
    times_us: NDArray[np.int64]
    """[n] event time, microseconds since 1970-01-01 UTC."""
    channels: tuple[str, ...]
    values: NDArray[np.float64]
    """[n, channels]."""

    def covered(self, gaps: Iterable[GapRange]) -> NDArray[np.bool_]:
        """[n] whether a gap tells of the row."""
        marked = np.zeros(self.seq.size, np.bool_)
        for gap in gaps:
            inside = (self.seq >= gap.first) & (self.seq <= gap.last)
            marked |= inside & (self.epoch == gap.epoch)
        return marked


@dataclass(frozen=True, slots=True)
class Produced:
    """Everything that was taken, and what is wrong with the log itself."""

    sources: dict[str, SourceRows]
    findings: list[str] = field(default_factory=list)

    @property
    def readings(self) -> int:
        """How many values were taken."""
        return sum(rows.values.size for rows in self.sources.values())


def read_log(*paths: Path) -> Produced:
    """Read logs of JSON lines with source, epoch, seq, t_ms and values (channel -> number)."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        with path.open(encoding="utf-8") as file:
            for text in file:
                line = json.loads(text)
                lines.setdefault(line["source"], []).append(line)
    sources = {source: _rows(taken) for source, taken in lines.items()}
    findings = [
        f"log of {source}: {fault}"
        for source, rows in sources.items()
        for fault in _faults_of_numbering(rows)
    ]
    return Produced(sources, findings)


def _rows(lines: list[dict[str, Any]]) -> SourceRows:
    channels = tuple(lines[0]["values"])
    return SourceRows(
        epoch=np.array([line["epoch"] for line in lines]),
        seq=np.array([line["seq"] for line in lines], np.int64),
        times_us=np.rint(np.array([line["t_ms"] for line in lines]) * 1000).astype(np.int64),
        channels=channels,
        values=np.array([[line["values"][name] for name in channels] for line in lines]),
    )


def _faults_of_numbering(rows: SourceRows) -> Iterable[str]:
    """The producer's own promises: time rises, and seq counts without holes."""
    if (np.diff(rows.times_us) <= 0).any():
        yield "event time does not rise"
    for epoch in np.unique(rows.epoch):
        seq = rows.seq[rows.epoch == epoch]
        if (np.diff(seq) != 1).any():
            yield f"epoch {epoch}: sequence numbers have holes or repeat"
