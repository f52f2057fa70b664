"""Puts the gateway's database on a disk that may lose power.

SQLite runs with a file layer that does everything for real and tells the disk of it. The connection
looks like the standard library's as far as `gateway.durable.database` uses it.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import apsw

from gateway.durable import database as product
from gateway.durable import sqlite
from gateway.durable.head import SIZE, Head, HeadFile
from gateway.durable.surroundings import OpenDatabase
from tests.storage.disk import Disk

__all__ = ["NO_CHANGES", "on_disk"]

NO_CHANGES: Mapping[str, str] = MappingProxyType({})
SHORT_LOG = {"wal_autocheckpoint=1000": "wal_autocheckpoint=40"}
"""So that checkpoints come often in a short run."""
numbers = itertools.count()


class CutFile(apsw.VFSFile):
    """A real file that tells a disk what happens to it."""

    def __init__(self, base: str, name: Any, flags: list[int], disk: Disk) -> None:
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        is_new = not path.exists()
        super().__init__(base, name, flags)
        self._name = path.name
        self._disk = disk
        disk.open(self._name, is_new=is_new)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        super().xWrite(data, offset)
        self._disk.write(self._name, offset, bytes(data))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        super().xTruncate(size)
        self._disk.truncate(self._name, size)

    def xSync(self, flags: int) -> None:  # noqa: N802 - nothing here needs the real disk
        self._disk.sync(self._name)


class CutFiles(apsw.VFS):
    """The file layer."""

    def __init__(self, disk: Disk) -> None:
        self.name = f"cut-{next(numbers)}"
        self._disk = disk
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> CutFile:  # noqa: N802
        return CutFile("", name, flags, self._disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self._disk.delete(Path(filename).name)


class Connection:
    """apsw as if it were sqlite3: the calls of the gateway's database and no more."""

    def __init__(self, path: Path, vfs: str) -> None:
        with translated():
            self._connection = apsw.Connection(str(path), vfs=vfs)
            self._connection.set_busy_timeout(500)

    def execute(self, statement: str, values: Iterable[Any] = ()) -> Rows:
        with translated():
            return Rows(self._connection.execute(statement, tuple(values)))

    def executemany(self, statement: str, rows: Iterable[Iterable[Any]]) -> None:
        with translated():
            self._connection.executemany(statement, [tuple(row) for row in rows])

    def executescript(self, statements: str) -> None:
        self.execute(statements)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def close(self) -> None:
        with translated():
            self._connection.close()


class Rows:
    """Rows of a statement."""

    def __init__(self, cursor: apsw.Cursor) -> None:
        self._cursor = cursor

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        with translated():
            yield from self._cursor

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self)

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row and let go of the others, as few as they are here."""
        return next(iter(self.fetchall()), None)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn apsw's errors into those of the standard library."""
    try:
        yield
    except apsw.Error as error:
        same = sqlite3.OperationalError(str(error))
        same.sqlite_errorcode = getattr(error, "extendedresult", 0) & 0xFFFFFFFF
        raise same from error


@contextlib.contextmanager
def on_disk(disk: Disk, changes: Mapping[str, str] = NO_CHANGES) -> Iterator[OpenDatabase]:
    """Give what opens databases that live on this disk, with some pragmas replaced."""
    files = CutFiles(disk)
    replaced = SHORT_LOG | dict(changes)
    pragmas = [replaced.get(pragma, pragma) for pragma in sqlite.PRAGMAS]

    def connect(path: Path) -> Connection:
        with sqlite.errors_of(path):
            connection = Connection(path, files.name)
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        return connection

    class WatchedHead(HeadFile):
        def __init__(self, path: Path) -> None:
            is_new = not path.exists()
            super().__init__(path)
            self._path = path
            disk.open(path.name, is_new=is_new)

        def write(self, head: Head) -> None:
            super().write(head)
            disk.write_unsynced(self._path.name, self._path.read_bytes()[:SIZE])

    yield functools.partial(product.Database, connect=connect, open_head=WatchedHead)
    files.unregister()
