from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from cloud.database import database_url, open_database
from cloud.errors import DatabaseError
from cloud.groups import AssetRows
from cloud.ingest import AlertRecord, ExcerptRecord, Rejection, StatusRecord, SummaryRecord
from cloud.store import MAX_REJECTED, Store
from cloud.tables import alerts, blocks, summaries
from tests.cloud.coupled import CHANNELS, alert_payload, coupled_rows, excerpt, summary
from wire.blocks import encode_excerpt
from wire.codec import decode_json
from wire.messages import AlertEvent, GatewayStatus


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(open_database(database_url(str(tmp_path / "cloud.sqlite"))))


def taken(seq: int, *, rows: int = 20, first: int = 0) -> ExcerptRecord:
    block = excerpt(seq, coupled_rows(0, rows), first=first)
    return ExcerptRecord(block, encode_excerpt(block))


def alert_record(state: str, last_ms: float) -> AlertRecord:
    payload = alert_payload("a1", state, last_ms=last_ms)  # type: ignore[arg-type]
    return AlertRecord(decode_json(payload, AlertEvent), payload)


def test_a_file_uses_a_journal_that_survives_a_power_cut(tmp_path: Path) -> None:
    engine = open_database(database_url(str(tmp_path / "cloud.sqlite")))
    with engine.connect() as connection:
        pragma = connection.exec_driver_sql
        assert pragma("PRAGMA journal_mode").scalar() == "wal"
        assert pragma("PRAGMA synchronous").scalar() == 2


def test_a_database_that_cannot_be_opened_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="expected a database at"):
        open_database(f"sqlite:///{tmp_path}/missing/cloud.sqlite")
    with pytest.raises(DatabaseError, match="expected a database at"):
        open_database("nonsense://x")


def test_the_same_block_twice_is_stored_once(store: Store) -> None:
    records = [SummaryRecord(summary(1)), taken(2)]
    assert store.write(records, received_us=1).counts["duplicates"] == 0
    again = store.write(records, received_us=2)
    assert again.counts == {"duplicates": 2}
    assert again.watermarks == {("g1", "e1"): 2}
    counted = store.counts()
    assert (counted["summaries"], counted["excerpts"]) == (2, 1)


def test_a_block_twice_in_one_batch_is_stored_once(store: Store) -> None:
    result = store.write([SummaryRecord(summary(5)), SummaryRecord(summary(5))], received_us=1)
    assert result.counts == {"summaries": 1, "duplicates": 1}


@settings(max_examples=25, deadline=None)
@given(
    batches=st.lists(st.lists(st.integers(1, 12), max_size=6), max_size=8),
    epochs=st.sampled_from([("e1",), ("e1", "e2")]),
)
def test_the_watermark_is_the_last_block_before_the_first_hole(
    batches: list[list[int]], epochs: tuple[str, ...]
) -> None:
    engine = open_database("sqlite://")
    store = Store(engine)
    seen: set[int] = set()
    for batch in batches:
        records = [SummaryRecord(summary(seq, epoch=e)) for seq in batch for e in epochs]
        result = store.write(records, received_us=1)
        seen |= set(batch)
        reached = next(seq for seq in range(14) if seq + 1 not in seen)
        assert result.watermarks == ({("g1", e): reached for e in epochs} if batch else {})
    with engine.connect() as connection:
        kept = connection.scalars(select(blocks.c.seq)).all()
    assert sorted(kept) == sorted(
        seq for seq in seen for _ in epochs if any(low not in seen for low in range(1, seq))
    )
    assert store.counts()["summaries"] == 2 * len(seen) * len(epochs)


def test_summaries_keep_their_knots_and_sketch(store: Store) -> None:
    store.write([SummaryRecord(summary(1))], received_us=1)
    with store._engine.connect() as connection:
        rows = connection.execute(select(summaries).order_by(summaries.c.start_us)).all()
    assert [row.count for row in rows] == [60, 60]
    assert np.frombuffer(rows[1].knot_value, "<f4").tolist() == [2.0, 3.0]
    assert np.frombuffer(rows[1].knot_us, "<i8").tolist() == [0, 59_000_000]
    assert rows[0].asset == "pump-0"


def test_an_alert_keeps_its_newest_phase(store: Store) -> None:
    store.write([alert_record("opened", 5), alert_record("closed", 9)], received_us=1)
    store.write([alert_record("opened", 5), alert_record("opened", 12)], received_us=2)
    with store._engine.connect() as connection:
        (row,) = connection.execute(select(alerts)).all()
    assert (row.state, row.last_us) == ("closed", 9000)


def test_the_newest_status_of_a_gateway_is_kept(store: Store) -> None:
    for presence in ("online", "offline"):
        status = GatewayStatus(gateway="g1", presence=presence)  # type: ignore[arg-type]
        store.write([StatusRecord(status, b"{}")], received_us=7)
    (gateway,) = store.gateways()
    assert dict(gateway) == {"gateway": "g1", "presence": "offline", "received_us": 7}


def test_rejections_are_kept_up_to_a_bound(store: Store) -> None:
    store.write([Rejection("t", "r", "d", 1)] * (MAX_REJECTED + 50), received_us=1)
    assert store.counts()["rejected"] == MAX_REJECTED


def test_training_rows_and_excerpts_come_back(store: Store) -> None:
    store.write([taken(1), taken(2, first=20), taken(3, first=40)], received_us=1)
    assert store.training_rows() == [AssetRows("pump-0", CHANNELS, 60)]
    blocks_back = store.training_excerpts("pump-0", max_rows=40)
    assert [int(block.times_us[0]) for block in blocks_back] == [20_000_000, 40_000_000]
    assert np.array_equal(blocks_back[0].values, coupled_rows(0, 20))
