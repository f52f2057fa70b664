"""The gateway's one database file. Everything here blocks: one thread calls it, and no other.

SQLite in WAL mode with synchronous=FULL: a commit that returned survives a power cut. One
connection has the file alone: no shared memory is needed, and a second gateway is refused.
"""

from __future__ import annotations

import contextlib
import operator
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.durable.commit import Commit, Removed, Weight
from gateway.durable.edgestate import EdgeState
from gateway.durable.head import Head, HeadFile
from gateway.durable.journal import JournalRow, encode_row
from gateway.durable.kept import Kept, checksum, kept_of, values_of, with_crc
from gateway.durable.snapshot import encode_state
from gateway.durable.sqlite import connect, errors_of
from gateway.errors import StorageError, StorageVersionError
from gateway.outbox import Entry

__all__ = ["Database", "StoredRow"]

SCHEMA_VERSION = "1"
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (
    key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (n INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS snapshot (n INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
    topic TEXT NOT NULL, payload BLOB NOT NULL, readings INTEGER NOT NULL,
    made_ms INTEGER NOT NULL, crc INTEGER NOT NULL, UNIQUE (epoch, seq));
CREATE TABLE IF NOT EXISTS confirmed (
    epoch TEXT PRIMARY KEY, seq INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
"""
TABLES = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
SNAPSHOTS_KEPT = 2
PRUNE_ROWS = 256
SELECT_KEPT = "SELECT epoch, seq, kind, topic, payload, readings, made_ms, crc FROM outbox "
WEIGH = (
    "SELECT count(*), coalesce(sum(length(payload)), 0), coalesce(sum(readings), 0) "
    "FROM outbox WHERE epoch = ? AND seq "
)


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A row of the journal, still packed."""

    number: int
    data: bytes


class Database:
    """An open database file. Raises StorageError when it is damaged, StorageFullError when full."""

    def __init__(
        self,
        path: Path,
        *,
        epoch: str,
        connect: Callable[[Path], sqlite3.Connection] = connect,
        open_head: Callable[[Path], HeadFile] = HeadFile,
    ) -> None:
        """Open or make the file; `epoch` is for a new one. Its name stands in every error."""
        self.path = path
        self._row_bytes = 0
        self._connection = connect(path)
        self._head = open_head(path.with_suffix(".head"))
        try:
            self._prepare(epoch)
        except BaseException:
            self.close()
            raise

    def _prepare(self, epoch: str) -> None:
        with errors_of(self.path):
            self._connection.executescript(SCHEMA)
            insert = "INSERT OR IGNORE INTO meta VALUES (?, ?, ?)"
            for note in (("schema", SCHEMA_VERSION), ("epoch", epoch)):
                self._connection.execute(insert, with_crc(note))
            self.meta: dict[str, str] = dict(self._checked("SELECT * FROM meta"))
            self.confirmed: dict[str, int] = dict(self._checked("SELECT * FROM confirmed"))
            noted = int(self.meta.get("last_row", "0"))
            self.last_row = max(self._number("SELECT max(n) FROM journal"), noted)
            self.journal_bytes = self._number("SELECT sum(length(data)) FROM journal")
        if self.meta["schema"] != SCHEMA_VERSION:
            found = self.meta["schema"]
            raise StorageVersionError(
                f"{self.path}: expected schema {SCHEMA_VERSION}, got {found}; "
                "move the file away or run the version that made it"
            )
        with errors_of(self.path), contextlib.closing(sqlite3.connect(":memory:")) as model:
            model.executescript(SCHEMA)
            expected, got = set(model.execute(TABLES)), set(self._connection.execute(TABLES))
        if expected != got:
            raise StorageError(f"{self.path}: expected its tables as they were made, got {got}")

    def _checked(self, query: str) -> list[tuple[Any, Any]]:
        rows = self._connection.execute(query).fetchall()
        for row in rows:
            if with_crc(row[:2]) != row:
                raise StorageError(f"{self.path}: expected what was written, got {row!r}")
        return [row[:2] for row in rows]

    @property
    def epoch(self) -> str:
        """Made together with the file."""
        return self.meta["epoch"]

    def put_back(self, rows: Mapping[str, Iterable[tuple[Any, ...]]]) -> None:
        """Insert rows of tables as they were, but none over what is there: for a salvage."""
        with errors_of(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            for table, values in rows.items():
                for row in values:
                    marks = ", ".join("?" * len(row))
                    self._connection.execute(
                        f"INSERT OR REPLACE INTO {table} VALUES ({marks})",  # noqa: S608 - our own names
                        row,
                    )
            self._connection.execute("COMMIT")

    @property
    def used_bytes(self) -> int:
        """Bytes of the file that hold something."""
        pages = self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")
        return pages * self._number("PRAGMA page_size")

    def read_head(self) -> Head | None:
        """Return what the second witness says."""
        return self._head.read()

    def check(self) -> None:
        """Raise StorageError where the structure of the file is damaged; reads all of it."""
        with errors_of(self.path):
            (found,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise StorageError(f"{self.path}: expected a sound database, got: {found}")

    def commit(self, commit: Commit) -> Removed:
        """Write everything in one transaction; when this returns it is on the disk.

        On an error nothing of it is. Returns what the cloud's confirmations took out.
        """
        connection = self._connection
        row = self.last_row
        with errors_of(self.path):
            connection.execute("BEGIN IMMEDIATE")
            try:
                if commit.draft is not None and not commit.draft.is_empty:
                    row += 1
                    self._insert_row(row, commit.draft.row(commit.altered))
                self._insert_entries(commit)
                removed = self._change_entries(commit)
                self._note(commit.meta)
                if commit.state is not None:
                    self._insert_snapshot(row, commit.state)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        if row > self.last_row:
            self.journal_bytes += self._row_bytes
        self.last_row = row
        self.confirmed |= commit.confirmed
        self.meta |= commit.meta
        self._witness(commit)
        return removed

    def entries(self, epoch: str, *, after: int, most_bytes: int) -> list[Kept]:
        """Return entries of a lane behind a seq, in order: one or more, about so many bytes.

        Of one whose bytes are damaged only the number is right, and `sound` is false.
        """
        found: list[Kept] = []
        size = 0
        query = SELECT_KEPT + "WHERE epoch = ? AND seq > ? ORDER BY seq"
        with errors_of(self.path):
            for values in self._connection.execute(query, (epoch, after)):
                found.append(kept_of(values))
                size += found[-1].entry.size_bytes
                if size >= most_bytes:
                    break
        return found

    def lanes(self) -> list[tuple[str, int, int, int, int, int]]:
        """Return (epoch, first seq, last seq, count, bytes, readings) of each lane that waits.

        In the order in which they were begun.
        """
        query = (
            "SELECT epoch, min(seq), max(seq), count(*), sum(length(payload)), sum(readings) "
            "FROM outbox GROUP BY epoch ORDER BY min(id)"
        )
        with errors_of(self.path):
            return self._connection.execute(query).fetchall()

    def numbers(self, epoch: str, *, first: int) -> list[int]:
        """Return the sequence numbers of a lane that wait, from `first` on."""
        with errors_of(self.path):
            query = "SELECT seq FROM outbox WHERE epoch = ? AND seq >= ? ORDER BY seq"
            return [seq for (seq,) in self._connection.execute(query, (epoch, first))]

    def oldest_ms(self) -> int | None:
        """Return when the oldest entry that waits was made; None where none does."""
        with errors_of(self.path):
            query = "SELECT made_ms FROM outbox ORDER BY id LIMIT 1"
            found = self._connection.execute(query).fetchone()
        return found[0] if found else None

    def oldest(self, kind: str, *, limit: int) -> list[Kept]:
        """Return the oldest entries of a kind, in order."""
        with errors_of(self.path):
            query = SELECT_KEPT + "WHERE kind = ? ORDER BY id LIMIT ?"
            rows = self._connection.execute(query, (kind, limit)).fetchall()
        return list(map(kept_of, rows))

    def missing(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return those entries that are neither stored nor confirmed."""
        with errors_of(self.path):
            return [
                entry
                for entry in entries
                if entry.seq > self.confirmed.get(entry.epoch, 0) and not self._holds(entry)
            ]

    def snapshots(self) -> Iterator[tuple[int, bytes]]:
        """Yield (row of the journal, snapshot), newest first."""
        with errors_of(self.path):
            numbers = self._connection.execute("SELECT n FROM snapshot ORDER BY n DESC").fetchall()
            for (number,) in numbers:
                query = "SELECT data FROM snapshot WHERE n = ?"
                yield number, self._connection.execute(query, (number,)).fetchone()[0]

    def rows(self, *, after: int) -> Iterator[StoredRow]:
        """Yield the rows of the journal behind a number, in order."""
        with errors_of(self.path):
            query = "SELECT n, data FROM journal WHERE n > ? ORDER BY n"
            for number, data in self._connection.execute(query, (after,)):
                yield StoredRow(number, data)

    def prune_journal(self, *, most_bytes: int) -> int:
        """Delete the oldest rows that no snapshot needs until so many bytes are left.

        Returns the bytes that were deleted.
        """
        oldest_needed = self._number("SELECT min(n) FROM snapshot")
        freed = 0
        with errors_of(self.path):
            while self.journal_bytes > most_bytes:
                query = "SELECT n, length(data) FROM journal WHERE n <= ? ORDER BY n LIMIT ?"
                some = self._connection.execute(query, (oldest_needed, PRUNE_ROWS)).fetchall()
                if not some:
                    break
                self._connection.execute("DELETE FROM journal WHERE n <= ?", (some[-1][0],))
                freed += sum(size for _, size in some)
                self.journal_bytes -= sum(size for _, size in some)
        return freed

    def give_back(self) -> None:
        """Return unused pages to the file system and empty the write-ahead log."""
        with errors_of(self.path):
            self._connection.execute("PRAGMA incremental_vacuum").fetchall()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file; the write-ahead log goes into it first."""
        self._connection.close()
        self._head.close()

    def _insert_row(self, number: int, row: JournalRow) -> None:
        data = encode_row(row)
        self._connection.execute("INSERT INTO journal VALUES (?, ?)", (number, data))
        self._row_bytes = len(data)

    def _insert_entries(self, commit: Commit) -> None:
        made_ms = commit.draft.time_ms if commit.draft else 0
        self._connection.executemany(
            "INSERT OR IGNORE INTO outbox VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
            [values_of(entry, made_ms) for entry in commit.entries],
        )

    def _change_entries(self, commit: Commit) -> Removed:
        grown = self._replace_entries(commit.replaced)
        removed = self._delete_entries(commit)
        dropped = Weight(*map(operator.sub, removed.dropped, grown))
        return Removed(removed.stored, dropped, self.oldest_ms())

    def _delete_entries(self, commit: Commit) -> Removed:
        stored = [self._weigh("<= ?", *item) for item in commit.confirmed.items()]
        dropped = [self._weigh("= ?", *item) for item in commit.dropped]
        delete = "DELETE FROM outbox WHERE epoch = ? AND seq "
        self._connection.executemany(delete + "= ?", commit.dropped)
        self._connection.executemany(delete + "<= ?", commit.confirmed.items())
        self._connection.executemany(
            "INSERT OR REPLACE INTO confirmed VALUES (?, ?, ?)",
            map(with_crc, commit.confirmed.items()),
        )
        return Removed(Weight.total(stored), Weight.total(dropped))

    def _weigh(self, which: str, epoch: str, seq: int) -> Weight:
        query = WEIGH + which
        return Weight(*self._connection.execute(query, (epoch, seq)).fetchone())

    def _replace_entries(self, entries: Iterable[Entry]) -> Weight:
        """Put other payloads into entries; return by how much they grew."""
        grown = []
        for entry in entries:
            before = self._weigh("= ?", entry.epoch, entry.seq)
            grown.append(
                Weight(0, len(entry.payload) - before.size_bytes, entry.readings - before.readings)
            )
            self._connection.execute(
                "UPDATE outbox SET payload = ?, readings = ?, crc = ? WHERE epoch = ? AND seq = ?",
                (entry.payload, entry.readings, checksum(entry), entry.epoch, entry.seq),
            )
        return Weight.total(grown)

    def _note(self, meta: Mapping[str, str]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", map(with_crc, meta.items())
        )

    def _insert_snapshot(self, row: int, state: EdgeState) -> None:
        data = encode_state(state)
        self._connection.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?)", (row, data))
        self._connection.execute(
            "DELETE FROM snapshot WHERE n NOT IN (SELECT n FROM snapshot ORDER BY n DESC LIMIT ?)",
            (SNAPSHOTS_KEPT,),
        )
        self._note({"last_row": str(row)})

    def _holds(self, entry: Entry) -> bool:
        query = "SELECT 1 FROM outbox WHERE epoch = ? AND seq = ?"
        return self._connection.execute(query, (entry.epoch, entry.seq)).fetchone() is not None

    def _witness(self, commit: Commit) -> None:
        if commit.draft is None:
            return
        lanes = {str(lane): seq for lane, seq in commit.draft.lanes.items()}
        ours = {lane: self.confirmed.get(f"{self.epoch}-{lane}", 0) for lane in lanes}
        self._head.write(Head(self.epoch, self.last_row, lanes, ours))

    def _number(self, query: str) -> int:
        (value,) = self._connection.execute(query).fetchone()
        return value or 0
