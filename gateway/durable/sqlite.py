"""Opens a SQLite file as the gateway needs it, and says its errors in our words."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import GatewayError, StorageBusyError, StorageError, StorageFullError

__all__ = ["connect", "errors_of"]

PRAGMAS = (
    "page_size=4096",
    "auto_vacuum=INCREMENTAL",
    "locking_mode=EXCLUSIVE",
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-256",
    "wal_autocheckpoint=1000",
    "journal_size_limit=8388608",
    "temp_store=MEMORY",
)
FULL_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE})
BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


def connect(path: Path) -> sqlite3.Connection:
    """Open the file exclusively; raise StorageError when it is no database or another has it."""
    with errors_of(path):
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=0.5
        )
        try:
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours, with the file's name: full, busy, or damaged."""
    try:
        yield
    except sqlite3.Error as error:
        raise _ours(path, error) from error


def _ours(path: Path, error: sqlite3.Error) -> GatewayError:
    code = getattr(error, "sqlite_errorcode", 0)
    if code in FULL_CODES:
        return StorageFullError(f"{path}: the disk is full: {error}")
    if code in BUSY_CODES:
        return StorageBusyError(
            f"{path}: expected to have the file alone, got: {error}; "
            "another gateway runs on it: stop that one, or give this one a folder of its own"
        )
    return StorageError(f"{path}: expected a sound database, got: {error}")
