from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, insert, select

from cloud.batch import MAX_REJECTED
from cloud.database import database_url, open_database, open_existing
from cloud.errors import DatabaseError
from cloud.groups import AssetRows
from cloud.records import AlertRecord, ExcerptRecord, Rejection, StatusRecord, SummaryRecord
from cloud.store import Store
from cloud.tables import alert_events, alerts, blocks, ledgers, metadata, spans, summaries
from tests.cloud.coupled import CHANNELS, alert_payload, coupled_rows, excerpt, summary
from wire.blocks import encode_excerpt
from wire.codec import decode_json
from wire.messages import AlertEvent, GatewayStatus, StoredMessage


def taken(seq: int, *, rows: int = 20, first: int = 0) -> ExcerptRecord:
    block = excerpt(seq, coupled_rows(0, rows), first=first)
    return ExcerptRecord(block, encode_excerpt(block))


def alert_record(state: str, last_ms: float, *, seq: int = 0, asset: str = "a1") -> AlertRecord:
    payload = alert_payload(asset, state, last_ms=last_ms, epoch="u", seq=seq)  # type: ignore[arg-type]
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
    assert again.answers == [StoredMessage(gateway="g1", epoch="e1", seq=2)]
    counted = store.counts()
    assert (counted["summaries"], counted["excerpts"]) == (2, 1)


def test_a_block_twice_in_one_batch_is_stored_once(store: Store) -> None:
    result = store.write([SummaryRecord(summary(5)), SummaryRecord(summary(5))], received_us=1)
    assert result.counts == {"summaries": 1, "duplicates": 1}


def test_summaries_keep_their_knots_and_sketch(store: Store) -> None:
    store.write([SummaryRecord(summary(1))], received_us=1)
    with store._engine.connect() as connection:
        rows = connection.execute(select(summaries).order_by(summaries.c.start_us)).all()
    assert [row.count for row in rows] == [60, 60]
    assert np.frombuffer(rows[1].knot_value, "<f4").tolist() == [2.0, 3.0]
    assert np.frombuffer(rows[1].knot_us, "<i8").tolist() == [0, 59_000_000]
    assert rows[0].asset == "pump-0"


def test_an_alert_keeps_its_newest_phase_and_each_message_once(store: Store) -> None:
    records = [alert_record("opened", 5), alert_record("closed", 9)]
    assert store.write(records, received_us=1).counts == {"alerts": 2}
    again = store.write([records[0], alert_record("opened", 12)], received_us=2)
    assert again.counts == {"alerts": 1, "duplicates": 1}
    with store._engine.connect() as connection:
        (row,) = connection.execute(select(alerts)).all()
        events = connection.execute(select(alert_events).order_by(alert_events.c.last_us)).all()
    assert (row.state, row.last_us) == ("closed", 9000)
    assert [(event.state, event.last_us) for event in events] == [
        ("opened", 5000),
        ("closed", 9000),
        ("opened", 12000),
    ]
    assert [event.payload for event in events[:2]] == [record.payload for record in records]


def test_a_numbered_alert_is_claimed_by_its_number(store: Store) -> None:
    records = [alert_record("opened", 5, seq=1), alert_record("closed", 9, seq=3)]
    (answer,) = store.write(records, received_us=1).answers
    assert answer == StoredMessage(gateway="g1", epoch="u", seq=1)
    again = store.write([*records, alert_record("updated", 7, seq=2)], received_us=1)
    assert again.counts == {"alerts": 1, "duplicates": 2}
    assert again.answers == [StoredMessage(gateway="g1", epoch="u", seq=3)]


def test_what_an_earlier_version_kept_is_taken_over(tmp_path: Path) -> None:
    url = database_url(str(tmp_path / "cloud.sqlite"))
    former = create_engine(url)
    metadata.create_all(former, tables=[ledgers, blocks, summaries, alerts])
    with former.begin() as connection:
        key = {"gateway": "g1", "epoch": "e1"}
        connection.execute(insert(ledgers).values(**key, stored_seq=2))
        connection.execute(insert(blocks), [{**key, "seq": seq} for seq in (4, 5, 7)])
    former.dispose()
    store = Store(open_existing(url))
    result = store.write([SummaryRecord(summary(seq)) for seq in (4, 3)], received_us=1)
    assert result.counts == {"summaries": 1, "duplicates": 1}
    assert [answer.seq for answer in result.answers] == [5]
    with store._engine.connect() as connection:
        assert connection.execute(select(blocks)).all() == []
        assert connection.execute(select(spans.c.first, spans.c.last)).all() == [(7, 7)]


@pytest.mark.parametrize("what", ["nothing", "empty", "foreign"])
def test_only_a_database_of_a_cloud_is_an_existing_one(tmp_path: Path, what: str) -> None:
    path = tmp_path / "other.sqlite"
    if what != "nothing":
        path.touch()
    if what == "foreign":
        with create_engine(f"sqlite:///{path}").begin() as connection:
            connection.exec_driver_sql("CREATE TABLE other (id INTEGER)")
    before = [path.read_bytes() for path in tmp_path.iterdir()]
    with pytest.raises(DatabaseError, match="let `vedette cloud run"):
        open_existing(database_url(str(path)))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == before


def test_a_password_stays_out_of_errors() -> None:
    with pytest.raises(DatabaseError) as caught:
        open_database("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)


def test_a_record_that_the_database_cannot_take_is_a_gap_and_the_rest_is_stored(
    postgresql: str,
) -> None:
    store = Store(open_database(postgresql))  # SQLite takes NUL in text
    bad = replace(summary(2), channels=("a\0b",))
    records = [SummaryRecord(summary(1)), SummaryRecord(bad), SummaryRecord(summary(3))]
    result = store.write(records, received_us=1)
    assert result.counts == {"summaries": 2, "rejected": 1}
    assert [answer.seq for answer in result.answers] == [3]
    (account,) = store.accounts()
    assert account.readings_in_summaries == 240
    (gap,) = account.gaps
    assert (gap.reason, gap.messages, gap.readings) == ("rejected", 1, 120)
    store.close()


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
