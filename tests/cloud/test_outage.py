from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

from cloud.outage import Outage


async def test_an_outage_is_told_once_a_change_and_outlasted(tmp_path: Path) -> None:
    events: list[Any] = []
    attempts = 0

    async def work() -> int:
        nonlocal attempts
        attempts += 1
        folder = tmp_path / "there"
        if attempts == 3:
            folder.mkdir()
        engine = create_engine(f"sqlite:///{folder}/file.sqlite")
        with engine.connect() as connection:
            found = connection.scalar(text("SELECT 7"))
        engine.dispose()
        return int(found or 0)

    outage = Outage("ingest", emit=events.append)
    assert await outage.outlast(work) == 7
    assert attempts == 3
    assert await outage.outlast(work) == 7
    detail = "unable to open database file"
    assert events == [
        {"event": "database_unavailable", "what": "ingest", "detail": detail},
        {"event": "database_available", "what": "ingest"},
    ]


async def test_an_error_that_the_content_causes_is_not_repeated() -> None:
    async def work() -> None:
        raise IntegrityError("INSERT", {}, ValueError("not unique"))

    with pytest.raises(IntegrityError):
        await Outage("ingest", emit=print).outlast(work)
