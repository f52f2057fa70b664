"""Opens the database: SQLite by default, PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from cloud.errors import DatabaseError
from cloud.tables import blocks, ledgers, metadata, spans

__all__ = [
    "Upsert",
    "database_url",
    "open_database",
    "open_existing",
    "reading",
    "upsert",
    "upsert_in",
    "writing",
]

PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")
PATIENT_DRIVERS = ("postgresql", "postgresql+psycopg", "postgresql+psycopg2")
PATIENCE = {"connect_timeout": "10", "tcp_user_timeout": "30000"}
"""Seconds and milliseconds after which a silent PostgreSQL counts as gone, unless the URL says."""

Upsert = postgresql.Insert | sqlite.Insert


def database_url(text: str) -> str:
    """Return a URL: `text` itself if it is one, else the SQLite URL of that file."""
    return text if "://" in text else f"sqlite:///{Path(text).absolute()}"


def open_database(url: str) -> Engine:
    """Connect, create missing tables and take over what earlier versions kept.

    Raises DatabaseError when that fails.
    """
    with _explained(url):
        engine = _connect(url)
        metadata.create_all(engine)
        _take_over_blocks(engine)
    return engine


def open_existing(url: str) -> Engine:
    """Open a database that a cloud has made; raise DatabaseError, making nothing, if none has."""
    with _explained(url):
        parsed = make_url(url)
        path = parsed.database if parsed.get_backend_name() == "sqlite" else None
        is_made = path is None or Path(path).is_file()
        if not is_made or not _has_ledgers(url):
            raise DatabaseError(
                f"expected the database of a cloud at {_shown(url)}, got none; name it with "
                "--database, or let `vedette cloud run --database ...` make it"
            )
    return open_database(url)


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes: on SQLite it waits for its turn at the start.

    Otherwise what it reads before its first write could be outdated by then.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction in which every query sees the same state."""
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        else:
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def upsert(connection: Connection, table: Table) -> Upsert:
    """Return an INSERT that knows ON CONFLICT in the connection's dialect."""
    return upsert_in(connection.dialect.name, table)


def upsert_in(dialect: str, table: Table) -> Upsert:
    """Return an INSERT that knows ON CONFLICT in the dialect of this name."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ArgumentError, ImportError) as error:
        raise DatabaseError(
            f"expected a database at {_shown(url)!r} (sqlite:///FILE or postgresql://...): {error}"
        ) from error


def _has_ledgers(url: str) -> bool:
    """Whether the tables are ours; looks without changing anything, the journal's kind included."""
    engine = create_engine(make_url(url))
    try:
        return inspect(engine).has_table(ledgers.name)
    finally:
        engine.dispose()


def _shown(url: str) -> str:
    """Return the URL without its password."""
    try:
        return make_url(url).render_as_string()
    except ArgumentError:
        return url


def _connect(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.drivername in PATIENT_DRIVERS:
        parsed = parsed.update_query_dict({**PATIENCE, **parsed.query})
    engine = create_engine(parsed)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_pragmas)
    return engine


def _take_over_blocks(engine: Engine) -> None:
    with engine.connect() as connection:
        if connection.execute(select(blocks.c.seq).limit(1)).first() is None:
            return
    seq = blocks.c.seq
    found = select(blocks.c.gateway, blocks.c.epoch, seq, seq.label("last")).where(seq > 0)
    with writing(engine) as connection:
        moved = upsert(connection, spans).from_select(list(spans.columns), found)
        connection.execute(moved.on_conflict_do_nothing())
        connection.execute(delete(blocks))


def _set_pragmas(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
