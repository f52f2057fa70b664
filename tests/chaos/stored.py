"""What the cloud holds: its SQLite file, read with plain sqlite3 and decoded by hand."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.chaos.produced import GapRange

__all__ = ["Event", "Excerpt", "Gap", "Stored", "Summaries", "read_database"]

Stream = tuple[str, str]
NUMBERS = ("start_us", "end_us", "count", "low", "high", "first", "last", "mean")


@dataclass(frozen=True, slots=True, eq=False)
class Summaries:
    """All summaries of one stream by start; every column is [n]."""

    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    count: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    mean: NDArray[np.float64]
    knot_us: list[NDArray[np.int64]]
    """[n] times of the knots since the summary's start."""
    knot_value: list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Gap:
    """One span of lost messages; a gap record may have told of several, seq 0 = none did."""

    gateway: str
    epoch: str
    seq: int
    reason: str
    source: str
    lost_epoch: str
    first: int
    last: int
    readings: int
    """Of lost summaries, as far as it is known."""

    @property
    def range(self) -> GapRange:
        """The lost messages of the source."""
        return GapRange(self.source, self.lost_epoch, self.first, self.last)


@dataclass(frozen=True, slots=True)
class Event:
    """One alert message, as it is stored: columns, and the payload as JSON."""

    gateway: str
    epoch: str
    seq: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One stored excerpt without its values."""

    asset: str
    reason: str
    start_us: int
    end_us: int
    rows: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The content of a cloud's database."""

    summaries: dict[Stream, Summaries]
    excerpts: list[Excerpt]
    gaps: list[Gap]
    events: list[Event]
    newest: dict[tuple[str, str], str]
    """(gateway, alert) -> state of its newest message."""
    ledgers: dict[tuple[str, str], int]
    """(gateway, epoch) -> seq up to which everything is said to be stored."""
    holes: dict[tuple[str, str], int]
    """(gateway, epoch) -> messages that are stored beyond a hole."""


def read_database(path: Path) -> Stored:
    """Read a database that a cloud may still be writing."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")
        return Stored(
            _summaries(connection),
            [
                Excerpt(*row)
                for row in connection.execute(
                    "SELECT asset, reason, start_us, end_us, rows FROM excerpts"
                )
            ],
            list(_gaps(connection)),
            list(_events(connection)),
            {
                (gateway, alert): state
                for gateway, alert, state in connection.execute(
                    "SELECT gateway, alertid, state FROM alerts"
                )
            },
            _by_epoch(connection, "SELECT gateway, epoch, stored_seq FROM ledgers"),
            _by_epoch(
                connection,
                "SELECT gateway, epoch, SUM(last - first + 1) FROM spans GROUP BY 1, 2",
            ),
        )


def _summaries(connection: sqlite3.Connection) -> dict[Stream, Summaries]:
    rows: dict[Stream, list[tuple[Any, ...]]] = {}
    names = ", ".join(NUMBERS)
    query = (
        f"SELECT asset, channel, {names}, knot_us, knot_value FROM summaries "
        "ORDER BY asset, channel, start_us, end_us, id"
    )
    for asset, channel, *row in connection.execute(query):
        rows.setdefault((asset, channel), []).append(tuple(row))
    return {stream: _columns(found) for stream, found in rows.items()}


def _columns(rows: list[tuple[Any, ...]]) -> Summaries:
    *numbers, knot_us, knot_value = zip(*rows, strict=True)
    named = {
        name: np.array(column, np.int64 if index < 3 else np.float64)
        for index, (name, column) in enumerate(zip(NUMBERS, numbers, strict=True))
    }
    return Summaries(
        **named,
        knot_us=[np.frombuffer(data, "<i8") for data in knot_us],
        knot_value=[np.frombuffer(data, "<f4") for data in knot_value],
    )


def _gaps(connection: sqlite3.Connection) -> Iterator[Gap]:
    query = (
        "SELECT gateway, epoch, seq, reason, source, lost_epoch, first, last, readings "
        "FROM gaps ORDER BY gateway, epoch, seq"
    )
    for *head, readings in connection.execute(query):
        yield Gap(*head, readings=readings or 0)


def _events(connection: sqlite3.Connection) -> Iterator[Event]:
    query = "SELECT gateway, epoch, seq, payload FROM alert_events ORDER BY gateway, epoch, seq"
    for gateway, epoch, seq, body in connection.execute(query):
        yield Event(gateway, epoch, seq, json.loads(body))


def _by_epoch(connection: sqlite3.Connection, query: str) -> dict[tuple[str, str], int]:
    return {(gateway, epoch): number for gateway, epoch, number in connection.execute(query)}
