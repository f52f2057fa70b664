"""One batch of records in one transaction: each takes its place in the ledger and its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

import msgspec
from sqlalchemy import Connection, delete, func, insert, select
from sqlalchemy.exc import DataError, IntegrityError

from cloud.alert_rows import insert_alert
from cloud.database import upsert
from cloud.gap_rows import (
    REJECTED,
    UNKNOWN,
    WITHHELD,
    insert_own_gap,
    insert_source_gap,
    insert_unreported,
    take_unreported,
)
from cloud.ingest import unstorable
from cloud.ledger import open_ledgers, save_ledgers
from cloud.place import LedgerKey
from cloud.records import (
    AlertRecord,
    ConfirmRecord,
    ExcerptRecord,
    GapRecord,
    Record,
    Rejection,
    StatusRecord,
    SummaryRecord,
    keys_of,
    place_of,
)
from cloud.summary_rows import insert_summaries
from cloud.tables import excerpts, gateways, rejected
from wire.blocks import ExcerptBlock
from wire.messages import ConfirmRequest, GapMessage, StoredMessage

__all__ = ["MAX_REJECTED", "UNSTORABLE", "Batch", "StoreResult"]

MAX_REJECTED = 1000
UNSTORABLE = (DataError, IntegrityError, UnicodeError, OverflowError)
"""Errors that a record's content causes, so that it would fail the next time too."""


@dataclass(slots=True)
class StoreResult:
    """What one transaction did."""

    counts: Counter[str] = field(default_factory=Counter)
    """Messages by kind, `duplicates`, `rejected`, and `excerpt_rows`."""
    answers: list[StoredMessage] = field(default_factory=list)
    """One of each ledger in the batch: `asked` is that of its newest request, 0 = none was."""


class Batch:
    """Writes records on a connection whose transaction the caller commits.

    With `savepoints`, a record whose content no table takes is rejected; without, it raises one of
    UNSTORABLE, which is faster.
    """

    def __init__(
        self,
        connection: Connection,
        records: Sequence[Record],
        *,
        received_us: int,
        savepoints: bool = False,
    ) -> None:
        keys = {key for record in records for key in keys_of(record)}
        self._connection = connection
        self._records = records
        self._received_us = received_us
        self._savepoints = savepoints
        self._ledgers = open_ledgers(connection, keys)
        self._asked: dict[LedgerKey, int] = {}
        self._counts: Counter[str] = Counter()

    def write(self) -> StoreResult:
        """Write all records, each as new or as a duplicate; return what was done."""
        for record in self._records:
            self._take(record)
        save_ledgers(self._connection, self._ledgers)
        if self._counts["rejected"]:
            _trim_rejected(self._connection)
        return StoreResult(self._counts, self._answers())

    def _answers(self) -> list[StoredMessage]:
        return [
            StoredMessage(
                gateway=key.gateway,
                epoch=key.epoch,
                seq=ledger.stored_seq,
                asked=self._asked.get(key, 0),
            )
            for key, ledger in self._ledgers.items()
        ]

    def _take(self, record: Record) -> None:
        place = place_of(record)
        if place is not None and not self._ledgers[place.key].claim(place.seq):
            self._counts["duplicates"] += 1
        elif self._savepoints:
            self._insert_or_reject(record)
        else:
            self._insert(record)

    def _insert_or_reject(self, record: Record) -> None:
        counts = self._counts.copy()
        try:
            with self._connection.begin_nested():
                self._insert(record)
        except UNSTORABLE as error:
            self._counts = counts
            self._reject(unstorable(record, str(error)))

    def _insert(self, record: Record) -> None:
        connection, received_us = self._connection, self._received_us
        match record:
            case SummaryRecord(block):
                insert_summaries(connection, block)
                self._counts["summaries"] += 1
            case ExcerptRecord(block, payload):
                _insert_excerpt(connection, block, payload)
                self._counts["excerpts"] += 1
                self._counts["excerpt_rows"] += block.times_us.size
            case AlertRecord():
                is_new = insert_alert(connection, record)
                self._counts["alerts" if is_new else "duplicates"] += 1
            case GapRecord(gap):
                self._insert_gap(gap)
                self._counts["gaps"] += 1
            case StatusRecord():
                _upsert_status(connection, record, received_us)
                self._counts["statuses"] += 1
            case ConfirmRecord(request):
                self._confirm(request)
                self._counts["confirms"] += 1
            case Rejection():
                self._reject(record)
            case _:
                assert_never(record)

    def _insert_gap(self, gap: GapMessage) -> None:
        connection, received_us = self._connection, self._received_us
        if gap.source:
            insert_source_gap(connection, gap, received_us=received_us)
            return
        ledger = self._ledgers[LedgerKey(gap.gateway, gap.lost_epoch)]
        parts = [*ledger.cover((gap.first, gap.last)), *take_unreported(connection, gap)]
        insert_own_gap(connection, gap, parts=parts, received_us=received_us)

    def _confirm(self, request: ConfirmRequest) -> None:
        """Note the question, and as lost what lies below `first` and never came."""
        key = LedgerKey(request.sender, request.epoch)
        self._asked[key] = request.last or self._asked.get(key, 0)
        ledger = self._ledgers[key]
        reason = WITHHELD if ledger.stored_seq else UNKNOWN
        if request.first > 1:
            insert_unreported(
                self._connection,
                key,
                parts=ledger.cover((1, request.first - 1)),
                reason=reason,
                received_us=self._received_us,
            )

    def _reject(self, rejection: Rejection) -> None:
        self._counts["rejected"] += 1
        _insert_rejection(self._connection, rejection, self._received_us)
        if rejection.place is not None:
            insert_unreported(
                self._connection,
                rejection.place.key,
                parts=[(rejection.place.seq, rejection.place.seq)],
                reason=REJECTED,
                readings=rejection.readings,
                received_us=self._received_us,
            )


def _insert_excerpt(connection: Connection, block: ExcerptBlock, payload: bytes) -> None:
    times_us = block.times_us
    connection.execute(
        insert(excerpts).values(
            gateway=block.gateway,
            asset=block.asset,
            reason=block.reason,
            channels=msgspec.json.encode(block.channels).decode(),
            start_us=int(times_us[0]) if times_us.size else 0,
            end_us=int(times_us[-1]) if times_us.size else 0,
            rows=times_us.size,
            payload=payload,
        )
    )


def _upsert_status(connection: Connection, record: StatusRecord, received_us: int) -> None:
    values = {
        "presence": record.status.presence,
        "status": record.payload,
        "received_us": received_us,
    }
    statement = upsert(connection, gateways).values(gateway=record.status.gateway, **values)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[gateways.c.gateway], set_=values)
    )


def _insert_rejection(connection: Connection, record: Rejection, received_us: int) -> None:
    connection.execute(
        insert(rejected).values(
            received_us=received_us,
            topic=record.topic,
            reason=record.reason,
            detail=record.detail,
            size_bytes=record.size_bytes,
        )
    )


def _trim_rejected(connection: Connection) -> None:
    newest = connection.scalar(select(func.max(rejected.c.id))) or 0
    connection.execute(delete(rejected).where(rejected.c.id <= newest - MAX_REJECTED))
