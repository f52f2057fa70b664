"""What can be saved of a damaged database: it is put aside, its sound rows go into a new one."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.durable.database import Database
from gateway.durable.journal import unseal
from gateway.durable.kept import kept_of, with_crc
from gateway.durable.surroundings import OpenDatabase
from gateway.errors import StorageError

__all__ = ["put_aside", "salvage"]

MOST_PROBES = 5000
TABLES = {
    "meta": "key",
    "confirmed": "epoch",
    "snapshot": "n",
    "journal": "n",
    "outbox": "id",
}
SUFFIXES = ("", "-wal", "-shm", "-journal")


def salvage(path: Path, *, epoch: str, open_database: OpenDatabase) -> tuple[Database, Path]:
    """Put a damaged file aside and return a new database with what was sound in it, and where.

    It has the epoch of the old one where that can be read, else `epoch`.
    """
    aside = put_aside(path)
    database = open_database(path, epoch=epoch)
    rows = {table: list(_sound_rows(aside, table, key)) for table, key in TABLES.items()}
    database.put_back(rows)
    database.close()
    return open_database(path, epoch=epoch), aside


def put_aside(path: Path) -> Path:
    """Rename a database with all its files; return the new name."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for suffix in SUFFIXES:
        old = path.with_name(path.name + suffix)
        if old.exists():
            old.rename(aside.with_name(aside.name + suffix))
    return aside


def _sound_rows(path: Path, table: str, key: str) -> Iterator[tuple[Any, ...]]:
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            for row in _readable(connection, table, key):
                if _is_sound(table, row):
                    yield row
        finally:
            connection.close()


def _readable(connection: sqlite3.Connection, table: str, key: str) -> Iterator[tuple[Any, ...]]:
    """Read from the front until damage, then from the back, then one by one what lies between."""
    front = list(_scan(connection, f"SELECT * FROM {table} ORDER BY {key}"))  # noqa: S608 - our own names
    yield from front
    seen = {row[0] for row in front}
    back = list(_scan(connection, f"SELECT * FROM {table} ORDER BY {key} DESC"))  # noqa: S608
    yield from (row for row in back if row[0] not in seen)
    if front and back and isinstance(front[-1][0], int):
        between = range(front[-1][0] + 1, back[-1][0])
        for number in between[:MOST_PROBES]:
            yield from _scan(connection, f"SELECT * FROM {table} WHERE {key} = {number}")  # noqa: S608


def _scan(connection: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    with contextlib.suppress(sqlite3.Error, UnicodeDecodeError, OverflowError):
        yield from connection.execute(query)


def _is_sound(table: str, row: tuple[Any, ...]) -> bool:
    try:
        match table:
            case "outbox":
                return kept_of(row[1:]).sound
            case "journal" | "snapshot":
                unseal(row[1])
                return True
            case _:
                return with_crc(row[:2]) == row
    except (StorageError, TypeError, ValueError, AttributeError):
        return False
