"""Opens the database: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cloud.errors import DatabaseError
from cloud.tables import metadata

__all__ = ["Upsert", "database_url", "open_database", "upsert"]

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON")

Upsert = postgresql.Insert | sqlite.Insert


def database_url(text: str) -> str:
    """Return a URL: `text` itself if it is one, else the SQLite URL of that file."""
    return text if "://" in text else f"sqlite:///{Path(text).absolute()}"


def open_database(url: str) -> Engine:
    """Connect and create missing tables; raise DatabaseError when that fails."""
    try:
        engine = create_engine(make_url(url))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _set_pragmas)
        metadata.create_all(engine)
    except (SQLAlchemyError, ArgumentError, ImportError) as error:
        raise DatabaseError(
            f"expected a database at {url!r} (sqlite:///FILE or postgresql://...): {error}"
        ) from error
    return engine


def upsert(connection: Connection, table: Table) -> Upsert:
    """Return an INSERT that knows ON CONFLICT in the connection's dialect."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
