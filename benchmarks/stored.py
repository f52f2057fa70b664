"""What a gateway's storage holds, read from outside: while it runs, and from a copy afterwards."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gateway.durable.head import Head, HeadFile
from gateway.durable.journal import decode_row
from gateway.durable.pack import PackedBatch
from gateway.durable.recovery import DATABASE

__all__ = ["Stored", "read_head", "read_stored"]

WEIGH = "SELECT coalesce(sum(length({column})), 0) FROM {table}"


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes and readings of one database."""

    used_bytes: int
    """Pages in use, everything included."""
    file_bytes: int
    """Database and write-ahead log."""
    journal_bytes: int
    snapshot_bytes: int
    """Checkpoints: as many for a long run as for a short one."""
    outbox_bytes: int
    pending_readings: int
    """Readings in summaries that the cloud has not confirmed."""
    replayed_readings: int
    """Readings of the journal behind the newest checkpoint: what a start has to run again."""

    @property
    def kept_bytes(self) -> int:
        """Bytes in use without the checkpoints."""
        return self.used_bytes - self.snapshot_bytes


def read_head(storage: Path) -> Head:
    """Return where a running gateway's storage stands; waits for the first commit's record."""
    file = HeadFile((storage / DATABASE).with_suffix(".head"))
    try:
        return file.read() or Head(epoch="", row=0, lanes={}, confirmed={})
    finally:
        file.close()


def read_stored(storage: Path) -> Stored:
    """Weigh a copy of the database of a gateway that has ended, in order or not."""
    with tempfile.TemporaryDirectory(dir=storage.parent) as name:
        for path in storage.glob(f"{DATABASE}*"):
            shutil.copy(path, name)
        file_bytes = sum(path.stat().st_size for path in Path(name).iterdir())
        with contextlib.closing(sqlite3.connect(Path(name) / DATABASE)) as copy:
            return weigh(copy, file_bytes)


def weigh(database: sqlite3.Connection, file_bytes: int) -> Stored:
    """Sum up what the tables hold."""
    return Stored(
        used_bytes=(
            number(database, "PRAGMA page_count") - number(database, "PRAGMA freelist_count")
        )
        * number(database, "PRAGMA page_size"),
        file_bytes=file_bytes,
        journal_bytes=number(database, WEIGH.format(column="data", table="journal")),
        snapshot_bytes=number(database, WEIGH.format(column="data", table="snapshot")),
        outbox_bytes=number(database, WEIGH.format(column="payload", table="outbox")),
        pending_readings=number(database, "SELECT coalesce(sum(readings), 0) FROM outbox"),
        replayed_readings=replayed(database),
    )


def replayed(database: sqlite3.Connection) -> int:
    """Count the readings behind the newest checkpoint."""
    newest = number(database, "SELECT coalesce(max(n), 0) FROM snapshot")
    rows = database.execute("SELECT data FROM journal WHERE n > ?", (newest,))
    return sum(
        event.readings
        for (data,) in rows
        for event in decode_row(data).events
        if isinstance(event, PackedBatch)
    )


def number(database: sqlite3.Connection, query: str) -> int:
    """Return the one number that a query gives."""
    (value,) = database.execute(query).fetchone()
    return int(value)
