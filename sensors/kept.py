"""Kept readings: rows of sources on the disk until a gateway confirms that it stored them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self
from zlib import crc32

import msgspec
from msgspec.structs import replace

from sensors.errors import KeptFileDamagedError
from sensors.keptfile import is_damage, kept_file_error, open_kept_file, set_aside
from sensors.keptsource import KeptSource, body_crc, new_source

__all__ = ["DEFAULT_LIMIT_MB", "KeptReadings", "KeptRow"]

DEFAULT_LIMIT_MB = 256
ROW_BYTES = 40  # what SQLite adds to a body, about
PAGE_ROWS = 1000
SIZES = f"coalesce(sum(length(body) + {ROW_BYTES}), 0)"
INSERT = "INSERT INTO reading (source, seq, ordinal, body, crc) VALUES (?, ?, ?, ?, ?)"
TOTALS = f"SELECT count(*), {SIZES}, coalesce(max(ordinal), 0) FROM reading"  # noqa: S608  # ours
FIRST = "SELECT seq, ordinal, length(body) FROM reading WHERE source = ? ORDER BY seq LIMIT 1"
PAGE = "SELECT seq, body, crc FROM reading WHERE source = ? AND seq > ? ORDER BY seq LIMIT ?"
SIZE = f"SELECT count(*), {SIZES} FROM reading"  # noqa: S608  # ours


class KeptRow(NamedTuple):
    """One row that is not confirmed."""

    seq: int
    body: bytes


class KeptReadings:
    """A context manager over one file; what `append` returned from survives kill -9 and power loss.

    Rows beyond `limit_mb` (10^6 bytes, about as on the disk) push out the oldest ones of the file,
    which are counted. Only one process can have the file. `warn` is told of damage. Every method
    raises KeptFileError when the disk fails.
    """

    def __init__(
        self,
        path: Path,
        *,
        limit_mb: float = DEFAULT_LIMIT_MB,
        warn: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.path = path
        self.limit_bytes = int(limit_mb * 1e6)
        self._warn = warn
        try:
            self._load()
        except KeptFileDamagedError as error:
            warn(str(error))
            self._load()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have the file."""
        self._connection.close()

    @property
    def sources(self) -> Mapping[str, KeptSource]:
        """Every source that the file knows, by name."""
        return MappingProxyType(self._sources)

    @property
    def held_bytes(self) -> int:
        """Bytes that count towards the limit."""
        return self._bytes

    @property
    def rows(self) -> int:
        """Count of rows held, of all sources."""
        return self._rows

    def first(self, source: str) -> int:
        """Return the lowest seq held, one above the last given when none is."""
        return self._first[source]

    def open_source(self, name: str) -> KeptSource:
        """Return the source, made under a new epoch when the file does not know it."""
        if name not in self._sources:
            number = max((source.number for source in self._sources.values()), default=0) + 1
            with self._transaction():
                self._put(new_source(name, number=number))
            self._first[name] = 1
        return self._sources[name]

    def append(self, batches: Mapping[str, Sequence[bytes]]) -> None:
        """Keep bodies by source, numbered on from the last, in one transaction."""
        with self._transaction():
            for name, bodies in batches.items():
                self._insert(self._sources[name], bodies)
            while self._bytes > self.limit_bytes and self._rows > 0:
                self._drop_oldest()

    def unconfirmed(self, source: str, *, after: int, limit: int) -> list[KeptRow]:
        """Return at most `limit` rows above `after`, by seq; damaged ones are deleted and counted.

        A hole in the numbers is where rows were given up.
        """
        number = self._sources[source].number
        with self._errors_mapped():
            found = self._connection.execute(PAGE, (number, after, limit)).fetchall()
        rows = [KeptRow(seq, body) for seq, body, crc in found if whole(number, seq, body, crc)]
        if len(rows) < len(found):
            self._delete_damaged(source, [row[0] for row in found if row[0] not in dict(rows)])
            return rows or self.unconfirmed(source, after=after, limit=limit)
        return rows

    def confirm(self, source: str, *, seq: int) -> None:
        """Delete the rows up to `seq`, which the gateway stored."""
        state = self._sources[source]
        if seq <= state.confirmed:
            return
        with self._transaction():
            self._delete("source = ? AND seq <= ?", (state.number, seq))
            self._put(replace(state, confirmed=min(seq, state.last)))
        self._find_first(source)

    def answered(self, source: str, *, gateway: str) -> None:
        """Note that a gateway answered this process, which may send from now on."""
        state = self._sources[source]
        if not state.answered or state.gateway != gateway:
            with self._transaction():
                self._put(replace(state, answered=True, gateway=gateway))

    def choose_gateway(self, source: str, *, gateway: str) -> None:
        """Listen to this gateway; rows go to another one than before under a new epoch."""
        state = self._sources[source]
        if state.gateway == gateway:
            return
        if state.gateway is not None:
            self.renumber(source, base=state.confirmed)
        with self._transaction():
            self._put(replace(self._sources[source], gateway=gateway))

    def renumber(self, source: str, *, base: int) -> None:
        """Start a new epoch: rows up to `base` are stored and go, the others count on from 1."""
        state = self._sources[source]
        base = min(base, state.last)
        with self._transaction():
            self._delete("source = ? AND seq <= ?", (state.number, base))
            self._shift(state.number, base=base)
            self._put(state.renumbered(base))
        self._find_first(source)

    def begin(self, source: str) -> KeptSource:
        """Return the source ready for a recording: a new epoch when the one before has ended."""
        state = self.open_source(source)
        if state.ended:
            with self._transaction():
                self._put(state.restarted())
            self._find_first(source)
        return self._sources[source]

    def end(self, sources: Sequence[str]) -> None:
        """Note that the recordings of these sources are done and were reported so."""
        with self._transaction():
            for name in sources:
                self._put(replace(self._sources[name], ended=True))

    def _insert(self, state: KeptSource, bodies: Sequence[bytes]) -> None:
        start, taken_crc = state.last + 1, state.taken_crc
        rows = []
        for seq, body in enumerate(bodies, start=start):
            self._ordinal += 1
            crc = body_crc(body, source=state.number, seq=seq)
            rows.append((state.number, seq, self._ordinal, body, crc))
            taken_crc = crc32(body, taken_crc)
        self._connection.executemany(INSERT, rows)
        self._rows += len(rows)
        self._bytes += sum(map(len, bodies)) + ROW_BYTES * len(rows)
        taken = state.taken + len(rows)
        last = state.last + len(rows)
        self._put(replace(state, last=last, taken=taken, taken_crc=taken_crc))

    def _drop_oldest(self) -> None:
        """Give up the oldest rows of the source that has the oldest one."""
        heads = sorted(
            (found[1], name, found[0])
            for name, state in self._sources.items()
            if (found := self._connection.execute(FIRST, (state.number,)).fetchone())
        )
        oldest, name, seq = heads[0]
        state = self._sources[name]
        excess = self._bytes - self.limit_bytes
        until = heads[1][0] if len(heads) > 1 else oldest + self._rows
        through = seq - 1
        for row_seq, ordinal, size in self._connection.execute(
            "SELECT seq, ordinal, length(body) FROM reading WHERE source = ? ORDER BY seq",
            (state.number,),
        ):
            if excess <= 0 or (ordinal > until):
                break
            excess -= size + ROW_BYTES
            through = row_seq
        dropped = self._delete("source = ? AND seq <= ?", (state.number, through))
        self._put(replace(state, dropped=state.dropped + dropped))
        self._find_first(name)

    def _delete_damaged(self, source: str, seqs: list[int]) -> None:
        state = self._sources[source]
        with self._transaction():
            for seq in seqs:
                self._delete("source = ? AND seq = ?", (state.number, seq))
            self._put(replace(state, damaged=state.damaged + len(seqs)))
        self._find_first(source)
        self._warn(f"{self.path}: {len(seqs)} damaged rows of {source} given up; check the disk")

    def _delete(self, where: str, arguments: tuple[int, ...]) -> int:
        """Delete rows and return how many."""
        count, size = self._connection.execute(f"{SIZE} WHERE {where}", arguments).fetchone()
        self._connection.execute(f"DELETE FROM reading WHERE {where}", arguments)  # noqa: S608  # ours
        self._rows -= count
        self._bytes -= size
        return int(count)

    def _shift(self, number: int, *, base: int) -> None:
        """Lower the seq of every row of a source by `base`, lowest first."""
        after = 0
        while page := self._connection.execute(PAGE, (number, after, PAGE_ROWS)).fetchall():
            after = page[-1][0]
            moved = [
                (seq - base, body_crc(body, source=number, seq=seq - base), number, seq)
                for seq, body, crc in page
                if whole(number, seq, body, crc)
            ]
            self._connection.executemany(
                "UPDATE reading SET seq = ?, crc = ? WHERE source = ? AND seq = ?", moved
            )
            for seq in {row[0] for row in page} - {row[3] for row in moved}:
                self._delete("source = ? AND seq = ?", (number, seq))

    def _find_first(self, source: str) -> None:
        state = self._sources[source]
        with self._errors_mapped():
            found = self._connection.execute(FIRST, (state.number,)).fetchone()
        self._first[source] = found[0] if found else state.last + 1

    def _put(self, state: KeptSource) -> None:
        """Write a source within the transaction."""
        encoded = msgspec.json.encode(state)
        self._connection.execute(
            "INSERT OR REPLACE INTO source (number, state, crc) VALUES (?, ?, ?)",
            (state.number, encoded, crc32(encoded)),
        )
        self._sources[state.name] = state

    def _load(self) -> None:
        self._sources: dict[str, KeptSource] = {}
        self._first: dict[str, int] = {}
        self._rows = self._bytes = self._ordinal = 0
        self._connection = open_kept_file(self.path, warn=self._warn)
        try:
            with self._transaction():
                for row in self._connection.execute("SELECT number, state, crc FROM source"):
                    self._put(self._loaded_source(*row).opened())
                self._rows, self._bytes, self._ordinal = self._connection.execute(TOTALS).fetchone()
                self._delete_misplaced()
            for name in self._sources:
                self._find_first(name)
        except BaseException:
            self._connection.close()
            raise

    def _loaded_source(self, number: int, state: object, crc: int) -> KeptSource:
        if isinstance(state, bytes) and crc32(state) == crc:
            source = msgspec.json.decode(state, type=KeptSource)
            if source.number == number:
                return source
        raise self._damaged(f"a damaged state of source {number}")

    def _delete_misplaced(self) -> None:
        """Delete rows under numbers that were never given or are done with: damage."""
        for source in self._sources.values():
            place = (source.number, source.last, source.confirmed)
            self._delete("source = ? AND (seq > ? OR seq <= ?)", place)
        self._delete("source NOT IN (SELECT number FROM source)", ())

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit to the disk; on an error nothing has changed, here as in the file."""
        sources, first = dict(self._sources), dict(self._first)
        counts = self._rows, self._bytes, self._ordinal
        with self._errors_mapped():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                self._connection.execute("COMMIT")
            except BaseException as error:
                # Ctrl-C may come between the commit and its return: then it has happened.
                interrupted = isinstance(error, KeyboardInterrupt)
                if not interrupted or self._connection.in_transaction:
                    self._sources, self._first = sources, first
                    self._rows, self._bytes, self._ordinal = counts
                    self._roll_back()
                raise

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the error that led here is the one to tell
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _errors_mapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if is_damage(error):
                raise self._damaged(str(error)) from error
            raise kept_file_error(self.path, error) from error

    def _damaged(self, reason: str) -> KeptFileDamagedError:
        self._connection.close()
        aside = set_aside(self.path)
        return KeptFileDamagedError(
            self.path, expected="a whole file", got=reason,
            next_step=f"it is set aside as {aside.name}, a new one begins under a new epoch",
        )  # fmt: skip


def whole(source: int, seq: object, body: object, crc: object) -> bool:
    """Tell whether a row is what was written."""
    if not (isinstance(seq, int) and isinstance(body, bytes)):
        return False
    return body_crc(body, source=source, seq=seq) == crc
