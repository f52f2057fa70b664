"""Opens a SQLite file as the gateway needs it, and says its errors in our words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from gateway.errors import StorageBusyError, StorageError, StorageFullError

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


class errors_of:  # noqa: N801 - reads as what it is: a context
    """A context that turns SQLite's errors into ours, with the file's name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        if not isinstance(error, sqlite3.Error):
            return
        code = getattr(error, "sqlite_errorcode", 0)
        if code in FULL_CODES:
            raise StorageFullError(f"{self._path}: the disk is full: {error}") from error
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise StorageBusyError(
                f"{self._path}: expected to have the file alone, got: {error}; "
                "another gateway runs on it: stop that one, or give this one a folder of its own"
            ) from error
        raise StorageError(f"{self._path}: expected a sound database, got: {error}") from error
