from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from cloud.accounts import GapAccount, GatewayAccount
from cloud.place import LedgerKey, Place
from cloud.records import ConfirmRecord, GapRecord, Record, Rejection, SummaryRecord
from cloud.store import Store
from tests.cloud.coupled import summary
from wire.messages import ConfirmRequest, GapMessage, StoredMessage

OWN = GapMessage(
    gateway="g1", epoch="u", seq=1, reason="cap", lost_epoch="e1", first=2, last=5, kind="summaries"
)


def block(seq: int) -> SummaryRecord:
    return SummaryRecord(summary(seq))


def confirm(first: int, last: int) -> ConfirmRecord:
    return ConfirmRecord(ConfirmRequest(sender="g1", epoch="e1", first=first, last=last))


def written(store: Store, *records: Record) -> dict[str, StoredMessage]:
    return {answer.epoch: answer for answer in store.write(records, received_us=1).answers}


def account(store: Store) -> GatewayAccount:
    (found,) = store.accounts()
    return found


def lost(store: Store) -> list[tuple[str, str, int, int]]:
    return [(gap.source, gap.reason, gap.messages, gap.readings) for gap in account(store).gaps]


def test_only_what_is_not_stored_counts_as_lost(store: Store) -> None:
    report = replace(OWN, readings=(10, 20, 30, 40))
    answers = written(store, block(1), block(3), GapRecord(report))
    assert {epoch: answer.seq for epoch, answer in answers.items()} == {"e1": 5, "u": 1}
    assert lost(store) == [("", "cap", 3, 80)]
    ours, _ = account(store).ledgers
    assert (ours.stored_seq, ours.stored, ours.lost) == (5, 2, 3)
    assert account(store).readings_in_gaps == 80


def test_a_report_of_what_is_stored_is_kept_with_an_empty_range(store: Store) -> None:
    answers = written(store, block(1), block(2), GapRecord(replace(OWN, last=2)))
    assert answers["u"].seq == 1
    assert lost(store) == [("", "cap", 0, 0)]
    assert account(store).ledgers[0].stored == 2


def test_a_report_that_comes_again_and_a_block_that_comes_late_count_once(store: Store) -> None:
    written(store, GapRecord(OWN))
    result = store.write([GapRecord(OWN), block(4), block(1), block(6)], received_us=1)
    assert result.counts == {"summaries": 2, "duplicates": 2}
    assert lost(store) == [("", "cap", 4, 0)]
    assert account(store).readings_in_summaries == 240


def test_overlapping_reports_count_each_message_once(store: Store) -> None:
    more = replace(OWN, seq=2, reason="corrupt", first=4, last=7, readings=(1, 2, 3, 4))
    written(store, GapRecord(OWN), GapRecord(more))
    assert lost(store) == [("", "cap", 4, 0), ("", "corrupt", 2, 7)]


def test_readings_that_a_source_lost_are_kept_as_told(store: Store) -> None:
    report = replace(OWN, reason="source", source="pump", lost_epoch="s", first=11, last=20)
    (answer,) = written(store, GapRecord(report), GapRecord(report)).values()
    assert answer == StoredMessage(gateway="g1", epoch="u", seq=1)
    assert account(store).gaps == (
        GapAccount(epoch="s", source="pump", reason="source", messages=10, readings=10),
    )


def test_merged_readings_are_lost_messages_and_no_lost_readings(store: Store) -> None:
    written(store, GapRecord(replace(OWN, reason="merged", readings=(1, 2, 3, 4))))
    assert lost(store) == [("", "merged", 4, 10)]
    assert account(store).readings_in_gaps == 0


def test_a_huge_range_is_one_row(store: Store) -> None:
    answers = written(store, block(10**9), GapRecord(replace(OWN, first=1, last=10**12)))
    assert answers["e1"].seq == 10**12
    assert lost(store) == [("", "cap", 10**12 - 1, 0)]
    assert store.counts()["gaps"] == 2


def test_an_answer_holds_the_watermark_after_the_batch_and_the_newest_question(
    store: Store,
) -> None:
    answers = written(store, block(1), confirm(1, 4), block(2), block(4), confirm(1, 5), block(6))
    assert answers["e1"] == StoredMessage(gateway="g1", epoch="e1", seq=2, asked=5)
    answers = written(store, block(3))
    assert answers["e1"] == StoredMessage(gateway="g1", epoch="e1", seq=4)


@pytest.mark.parametrize(
    ("before", "reason", "messages"),
    [([], "unknown", 6), ([block(1), block(3)], "withheld", 4), ([block(3)], "unknown", 5)],
)
def test_what_a_gateway_holds_no_longer_is_a_gap_of_unknown_size(
    store: Store, before: list[Record], reason: str, messages: int
) -> None:
    answers = written(store, *before, confirm(7, 9))
    assert answers["e1"] == StoredMessage(gateway="g1", epoch="e1", seq=6, asked=9)
    assert lost(store) == [("", reason, messages, 0)]
    assert written(store, confirm(7, 9))["e1"].seq == 6
    assert lost(store) == [("", reason, messages, 0)]


def test_a_report_that_comes_after_the_question_explains_the_gap(store: Store) -> None:
    written(store, block(3), confirm(8, 8))
    assert lost(store) == [("", "unknown", 6, 0)]
    report = GapRecord(replace(OWN, first=2, last=5, readings=(10, 20, 30, 40)))
    written(store, report, report)
    assert lost(store) == [("", "cap", 3, 80), ("", "unknown", 3, 0)]
    assert account(store).ledgers[0].lost == 6


def test_a_rejected_message_with_a_place_does_not_hold_up_the_others(store: Store) -> None:
    rejection = Rejection("t", "bad_range", "d", 1, Place(LedgerKey("g1", "u"), 1))
    result = store.write([rejection, rejection], received_us=1)
    assert result.counts == {"rejected": 1, "duplicates": 1}
    assert result.answers == [StoredMessage(gateway="g1", epoch="u", seq=1)]
    assert lost(store) == [("", "rejected", 1, 0)]


@pytest.mark.parametrize(
    ("changes", "readings"),
    [({"kind": ""}, None), ({"kind": "summaries"}, None), ({"kind": "excerpts"}, 0)],
)
def test_readings_that_nobody_told_are_null(
    store: Store, changes: dict[str, Any], readings: int | None
) -> None:
    written(store, GapRecord(replace(OWN, **changes)))
    with store._engine.connect() as connection:
        (found,) = connection.exec_driver_sql("SELECT readings FROM gaps").scalars()
    assert found == readings
