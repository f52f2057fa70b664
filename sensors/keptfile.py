"""The file of kept readings: opened by one process, checked, and set aside when it is damaged."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from sensors.errors import KeptFileError

__all__ = ["is_damage", "kept_file_error", "open_kept_file", "set_aside", "sync_folder"]

FORMAT = 1
WAL_BYTES = 4 * 1024 * 1024
IN_USE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH})

SETTINGS = f"""\
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = {WAL_BYTES};
PRAGMA cell_size_check = ON;
"""
TABLES = f"""\
BEGIN IMMEDIATE;
CREATE TABLE source (
    number INTEGER PRIMARY KEY,
    state BLOB NOT NULL,
    crc INTEGER NOT NULL
);
CREATE TABLE reading (
    source INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    body BLOB NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (source, seq)
) WITHOUT ROWID;
PRAGMA user_version = {FORMAT};
COMMIT;
"""


def open_kept_file(path: Path, *, warn: Callable[[str], None]) -> sqlite3.Connection:
    """Open or make the file and lock it until the connection is closed or the process ends.

    A damaged one is renamed to `<name>.corrupt-<n>`, of which `warn` is told, and a new one made.
    Raises KeptFileError when another process has it or it cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return checked(path)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise kept_file_error(path, error) from error
        reason = str(error)
    except OSError as error:
        raise kept_file_error(path, error) from error
    aside = set_aside(path)
    warn(
        f"{path} is damaged ({reason}): set aside as {aside.name}, what waited in it is lost; "
        "a new file begins under a new epoch"
    )
    try:
        return checked(path)
    except sqlite3.Error as error:
        raise kept_file_error(path, error) from error


def checked(path: Path) -> sqlite3.Connection:
    """Open the file and check every page of it; raise sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    try:
        connection.executescript(SETTINGS)
        connection.executescript("BEGIN IMMEDIATE; COMMIT;")
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            connection.executescript(TABLES)
            sync_folder(path.parent)
        check(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def check(connection: sqlite3.Connection) -> None:
    """Raise a sqlite3.DatabaseError that `is_damage` knows unless the file is whole and ours."""
    [found] = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damage(str(found).replace("\n", " "))
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version != FORMAT:
        raise damage(f"expected format {FORMAT}, got {version}")


def damage(reason: str) -> sqlite3.DatabaseError:
    """Return the error that SQLite itself has for a damaged file."""
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether the file's content is to blame."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return isinstance(error, sqlite3.DatabaseError)
    missing_table = code == sqlite3.SQLITE_ERROR and "no such" in str(error)
    short_file = code == sqlite3.SQLITE_IOERR_SHORT_READ
    return code & 0xFF in DAMAGED or missing_table or short_file


def kept_file_error(path: Path, error: Exception) -> KeptFileError:
    """Return what to tell people of an error of SQLite or the operating system."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in IN_USE:
        return KeptFileError(
            path, expected="a file that no other process uses", got="a locked one",
            next_step="end the other process or give --keep FILE",
        )  # fmt: skip
    return KeptFileError(
        path, expected="a file that can be read and written", got=str(error),
        next_step="free the disk or give --keep FILE; what was kept stays kept",
    )  # fmt: skip


def set_aside(path: Path) -> Path:
    """Rename the file, and its journal beside it, to the first free `<name>.corrupt-<n>`."""
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    path.rename(aside)
    for suffix in ("-wal", "-shm", "-journal"):
        beside = path.with_name(path.name + suffix)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + suffix))
    sync_folder(path.parent)
    return aside


def sync_folder(folder: Path) -> None:
    """Bring the names in the folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
