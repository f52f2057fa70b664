"""Real databases: a SQLite file of the test's own, and a PostgreSQL cluster of the whole run."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.database import database_url, open_database
from cloud.store import Store
from cloud.tables import metadata
from tests.cloud.cluster import find_postgresql, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The URL of a PostgreSQL database, started once."""
    binaries = find_postgresql()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg, the driver of PostgreSQL, is not installed")
    with running_cluster(binaries) as url:
        yield url


@pytest.fixture
def postgresql(cluster: str) -> str:
    """The URL of the PostgreSQL database, with our tables empty."""
    empty(engine := open_database(cluster))
    engine.dispose()
    return cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database, of each kind that we support."""
    if request.param == "sqlite":
        url = database_url(str(tmp_path / "cloud.sqlite"))
    else:
        url = request.getfixturevalue("postgresql")
    opened = open_database(url)
    yield opened
    opened.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def empty(engine: Engine) -> None:
    """Delete every row of our tables."""
    with engine.begin() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
