"""Keeps what gateways send: one transaction a batch of messages, each block once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

import msgspec
import numpy as np
from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, tuple_, update

from cloud.database import upsert
from cloud.groups import AssetRows
from cloud.ingest import (
    AlertRecord,
    ExcerptRecord,
    Record,
    Rejection,
    StatusRecord,
    SummaryRecord,
)
from cloud.tables import alerts, blocks, excerpts, gateways, ledgers, rejected, summaries
from wire.blocks import ExcerptBlock, SummaryBlock, SummaryColumns, decode_excerpt

__all__ = ["Store", "StoreResult"]

MAX_REJECTED = 1000
TRAINING_REASONS = ("history", "sample")
"""Excerpts of normal operation; those around alerts are evidence, not training data."""
SCALARS = (
    "start_us",
    "end_us",
    "count",
    "missing",
    "mean",
    "variance",
    "low",
    "high",
    "first",
    "last",
    "error",
)


@dataclass(slots=True)
class StoreResult:
    """What one transaction did."""

    counts: Counter[str] = field(default_factory=Counter)
    """Messages by kind, `duplicates`, `rejected`, and `excerpt_rows`."""
    watermarks: dict[tuple[str, str], int] = field(default_factory=dict)
    """(gateway, epoch) -> seq up to which everything is stored, of every block in the batch."""


class Store:
    """The database's incoming side. Its methods block: call them from one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close the pooled connections; a later call opens new ones."""
        self._engine.dispose()

    def write(self, records: Sequence[Record], *, received_us: int) -> StoreResult:
        """Store a batch in one transaction; blocks that are stored already count as duplicates."""
        result = StoreResult()
        with self._engine.begin() as connection:
            for record in records:
                _write_record(connection, record, received_us, result)
            for gateway, epoch in result.watermarks:
                result.watermarks[gateway, epoch] = _advance(connection, gateway, epoch)
            if result.counts["rejected"]:
                _trim_rejected(connection)
        return result

    def training_rows(self) -> list[AssetRows]:
        """Return how many rows there are to train on, by asset and list of channels."""
        total = func.sum(excerpts.c.rows)
        query = (
            select(excerpts.c.asset, excerpts.c.channels, total)
            .where(excerpts.c.reason.in_(TRAINING_REASONS))
            .group_by(excerpts.c.asset, excerpts.c.channels)
            .order_by(excerpts.c.asset, excerpts.c.channels)
        )
        with self._engine.connect() as connection:
            found = connection.execute(query).all()
        return [
            AssetRows(asset, msgspec.json.decode(channels, type=tuple[str, ...]), int(rows))
            for asset, channels, rows in found
        ]

    def training_excerpts(self, asset: str, *, max_rows: int) -> list[ExcerptBlock]:
        """Return the newest training excerpts of one asset, oldest first, about `max_rows` rows."""
        query = (
            select(excerpts.c.payload, excerpts.c.rows)
            .where(excerpts.c.asset == asset, excerpts.c.reason.in_(TRAINING_REASONS))
            .order_by(excerpts.c.end_us.desc(), excerpts.c.id.desc())
        )
        found: list[ExcerptBlock] = []
        with self._engine.connect() as connection:
            for payload, rows in connection.execute(query):
                if max_rows <= 0:
                    break
                found.append(decode_excerpt(payload))
                max_rows -= rows
        return found[::-1]

    def counts(self) -> dict[str, int]:
        """Return the count of rows of each incoming table."""
        with self._engine.connect() as connection:
            return {
                table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0)
                for table in (gateways, summaries, excerpts, alerts, rejected)
            }

    def gateways(self) -> list[RowMapping]:
        """Return gateway, presence and arrival time (`received_us`) of each newest status."""
        query = select(gateways.c.gateway, gateways.c.presence, gateways.c.received_us)
        with self._engine.connect() as connection:
            return list(connection.execute(query.order_by(gateways.c.gateway)).mappings())


def _write_record(
    connection: Connection, record: Record, received_us: int, result: StoreResult
) -> None:
    match record:
        case SummaryRecord(block):
            if _claim(connection, block, result):
                _insert_summaries(connection, block)
                result.counts["summaries"] += 1
        case ExcerptRecord(block, payload):
            if _claim(connection, block, result):
                _insert_excerpt(connection, block, payload)
                result.counts["excerpts"] += 1
                result.counts["excerpt_rows"] += block.times_us.size
        case AlertRecord():
            _upsert_alert(connection, record)
            result.counts["alerts"] += 1
        case StatusRecord():
            _upsert_status(connection, record, received_us)
            result.counts["statuses"] += 1
        case Rejection():
            _insert_rejection(connection, record, received_us)
            result.counts["rejected"] += 1
        case _:
            assert_never(record)


def _claim(connection: Connection, block: SummaryBlock | ExcerptBlock, result: StoreResult) -> bool:
    """Whether this block is new; its key is taken in the same transaction as its rows."""
    key = {"gateway": block.gateway, "epoch": block.epoch}
    result.watermarks[block.gateway, block.epoch] = 0
    ledger = upsert(connection, ledgers).values(**key, stored_seq=0).on_conflict_do_nothing()
    connection.execute(ledger)
    stored = connection.scalar(_ledger_of(block.gateway, block.epoch))
    is_new = block.seq > (stored or 0)
    if is_new:
        taken = upsert(connection, blocks).values(**key, seq=block.seq)
        is_new = connection.execute(taken.on_conflict_do_nothing()).rowcount == 1
    if not is_new:
        result.counts["duplicates"] += 1
    return is_new


def _ledger_of(gateway: str, epoch: str) -> Any:
    return select(ledgers.c.stored_seq).where(
        ledgers.c.gateway == gateway, ledgers.c.epoch == epoch
    )


def _advance(connection: Connection, gateway: str, epoch: str) -> int:
    """Move the ledger over the blocks without a hole and forget their keys; return it."""
    ours = (blocks.c.gateway == gateway) & (blocks.c.epoch == epoch)
    stored = int(connection.scalar(_ledger_of(gateway, epoch)) or 0)
    reached = stored
    for seq in connection.scalars(select(blocks.c.seq).where(ours).order_by(blocks.c.seq)):
        if seq > reached + 1:
            break
        reached = seq
    if reached > stored:
        connection.execute(delete(blocks).where(ours, blocks.c.seq <= reached))
        which = tuple_(ledgers.c.gateway, ledgers.c.epoch) == (gateway, epoch)
        connection.execute(update(ledgers).where(which).values(stored_seq=reached))
    return reached


def _insert_summaries(connection: Connection, block: SummaryBlock) -> None:
    rows = block.rows
    if not rows.count.size:
        return
    columns: dict[str, Sequence[Any]] = {name: getattr(rows, name).tolist() for name in SCALARS}
    columns["asset"] = [block.assets[index] for index in rows.asset]
    columns["channel"] = [block.channels[index] for index in rows.channel]
    columns["sketch"] = [row.tobytes() for row in rows.sketch]
    columns["knot_us"], columns["knot_value"] = _cut_knots(rows)
    connection.execute(
        insert(summaries),
        [
            {"gateway": block.gateway, **dict(zip(columns, values, strict=True))}
            for values in zip(*columns.values(), strict=True)
        ],
    )


def _cut_knots(rows: SummaryColumns) -> tuple[list[bytes], list[bytes]]:
    ends = np.cumsum(rows.knots.astype(np.int64))
    slices = [slice(end - size, end) for end, size in zip(ends, rows.knots.tolist(), strict=True)]
    return (
        [rows.knot_us[part].astype("<i8").tobytes() for part in slices],
        [rows.knot_value[part].astype("<f4").tobytes() for part in slices],
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


def _upsert_alert(connection: Connection, record: AlertRecord) -> None:
    alert = record.event.data
    values: Mapping[str, Any] = {
        "asset": alert.asset,
        "state": alert.state,
        "severity": alert.severity,
        "start_us": int(alert.start_ms * 1000),
        "last_us": int(alert.last_ms * 1000),
        "event": record.payload,
    }
    statement = upsert(connection, alerts).values(
        gateway=alert.gateway, alertid=record.event.alertid, **values
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[alerts.c.gateway, alerts.c.alertid],
            set_=values,
            where=(alerts.c.state != "closed") & (alerts.c.last_us <= values["last_us"]),
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
