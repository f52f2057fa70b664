"""A log and a database that agree with each other, for tests that then spoil one of them."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.chaos.checker import Report, check, expected_alerts
from tests.chaos.waves import row_values, source_name, time_ms

__all__ = ["Synthetic", "build"]

WINDOW = 50
GATEWAY = "gateway"
URGENT = "aa-urgent"
SCHEMA = """\
CREATE TABLE summaries (id INTEGER PRIMARY KEY, gateway TEXT, asset TEXT, channel TEXT,
  start_us INTEGER, end_us INTEGER, count INTEGER, low REAL, high REAL, first REAL, last REAL,
  mean REAL, knot_us BLOB, knot_value BLOB);
CREATE TABLE excerpts (asset TEXT, reason TEXT, start_us INTEGER, end_us INTEGER, rows INTEGER);
CREATE TABLE gaps (gateway TEXT, epoch TEXT, seq INTEGER, reason TEXT, source TEXT,
  lost_epoch TEXT, first INTEGER, last INTEGER, readings INTEGER);
CREATE TABLE alert_events (gateway TEXT, epoch TEXT, seq INTEGER, payload BLOB);
CREATE TABLE alerts (gateway TEXT, alertid TEXT, state TEXT);
CREATE TABLE ledgers (gateway TEXT, epoch TEXT, stored_seq INTEGER);
CREATE TABLE spans (gateway TEXT, epoch TEXT, first INTEGER, last INTEGER);
"""


@dataclass
class Synthetic:
    """The files, and how to change and judge them."""

    folder: Path
    rows: int
    events: list[dict[str, Any]] = field(default_factory=list)
    """What the cloud has got."""
    expected: list[dict[str, Any]] = field(default_factory=list)
    """What an undisturbed run raises."""

    @property
    def log(self) -> Path:
        return self.folder / "produced.jsonl"

    @property
    def database(self) -> Path:
        return self.folder / "cloud.sqlite"

    def run(self, statement: str, *values: object) -> None:
        """Change the database."""
        with sqlite3.connect(self.database) as connection:
            connection.execute(statement, values)
        connection.close()

    def edit_log(self, lines: list[dict[str, Any]]) -> None:
        """Write the log anew."""
        self.log.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    def lines(self) -> list[dict[str, Any]]:
        """Return the log's lines."""
        return [json.loads(line) for line in self.log.read_text("utf-8").splitlines()]

    def verdict(self, *, is_over: bool = True) -> Report:
        """Let the checker judge."""
        return check([self.log], self.database, is_over=is_over, events=self.expected)


def build(
    folder: Path,
    *,
    sources: int = 2,
    channels: int = 2,
    rows: int = 300,
    events: list[dict[str, Any]] | None = None,
) -> Synthetic:
    """Write a log of all sources and the database of a cloud that has it all.

    `events` are the alerts of this very log where they have been computed before.
    """
    folder.mkdir(exist_ok=True)
    made = Synthetic(folder, rows)
    made.edit_log(
        [_line(source, row, channels) for row in range(1, rows + 1) for source in range(sources)]
    )
    made.events = expected_alerts([made.log], None, []) if events is None else list(events)
    made.expected = list(made.events)
    with sqlite3.connect(made.database) as connection:
        connection.executescript(SCHEMA)
        for source in range(sources):
            for channel in range(channels):
                _store_stream(connection, made, source, channel)
            first, last = time_ms(1) * 1000, time_ms(128) * 1000
            excerpt = (source_name(source), "history", first, last, 128)
            connection.execute("INSERT INTO excerpts VALUES (?, ?, ?, ?, ?)", excerpt)
        _store_events(connection, made)
    connection.close()
    return made


def _line(source: int, row: int, channels: int) -> dict[str, Any]:
    values = row_values(source, row, channels)
    head = {"source": source_name(source), "epoch": "e1", "seq": row, "t_ms": time_ms(row)}
    return head | {"values": values}


def _store_stream(
    connection: sqlite3.Connection, made: Synthetic, source: int, channel: int
) -> None:
    for first in range(1, made.rows + 1, WINDOW):
        rows = range(first, min(first + WINDOW, made.rows + 1))
        name = f"c{channel}"
        taken = [row_values(source, row, channel + 1)[name] for row in rows]
        times_us = np.array([time_ms(row) * 1000 for row in rows])
        connection.execute(
            "INSERT INTO summaries VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (GATEWAY, source_name(source), name, *summary_of(times_us, np.array(taken))),
        )


def summary_of(times_us: np.ndarray[Any, Any], taken: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    """Columns of the summary of some readings, from `start_us` on."""
    values = taken.astype(np.float32)
    ends = [0, values.size - 1]
    scalars = [float(values[0]), float(values[-1])]
    spread = [float(values.min()), float(values.max()), *scalars]
    mean = float(values.astype(np.float64).mean())
    knots = (times_us[ends] - times_us[0]).astype("<i8").tobytes()
    head = (int(times_us[0]), int(times_us[-1]), int(values.size))
    return (*head, *spread, mean, knots, values[ends].tobytes())


def _store_events(connection: sqlite3.Connection, made: Synthetic) -> None:
    for seq, event in enumerate(made.events, 1):
        body = json.dumps(event | {"epoch": URGENT, "seq": seq}).encode()
        row = (GATEWAY, URGENT, seq, body)
        connection.execute("INSERT INTO alert_events VALUES (?, ?, ?, ?)", row)
        connection.execute("DELETE FROM alerts WHERE alertid = ?", (event["alertid"],))
        newest = (GATEWAY, event["alertid"], event["data"]["state"])
        connection.execute("INSERT INTO alerts VALUES (?, ?, ?)", newest)
    ledger = (GATEWAY, URGENT, len(made.events))
    connection.execute("INSERT INTO ledgers VALUES (?, ?, ?)", ledger)
