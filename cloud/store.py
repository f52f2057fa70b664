"""Keeps what gateways send: one transaction a batch of messages, each message once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Engine, RowMapping, func, select

from cloud.accounts import GatewayAccount, read_accounts
from cloud.batch import UNSTORABLE, Batch, StoreResult
from cloud.database import reading, writing
from cloud.groups import AssetRows
from cloud.records import Record
from cloud.tables import alert_events, alerts, excerpts, gaps, gateways, rejected, summaries
from wire.blocks import ExcerptBlock, decode_excerpt

__all__ = ["Store", "StoreResult"]

TRAINING_REASONS = ("history", "sample")
"""Excerpts of normal operation; those around alerts are evidence, not training data."""
COUNTED = (gateways, summaries, excerpts, alerts, alert_events, gaps, rejected)


class Store:
    """The database's incoming side. Its methods block: call them from one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close the pooled connections; a later call opens new ones."""
        self._engine.dispose()

    def write(self, records: Sequence[Record], *, received_us: int) -> StoreResult:
        """Store a batch in one transaction; what is stored already counts as duplicates.

        A record whose content the database cannot take is rejected, and the others are stored.
        """
        try:
            return self._write(records, received_us=received_us, savepoints=False)
        except UNSTORABLE:
            return self._write(records, received_us=received_us, savepoints=True)

    def _write(
        self, records: Sequence[Record], *, received_us: int, savepoints: bool
    ) -> StoreResult:
        with writing(self._engine) as connection:
            batch = Batch(connection, records, received_us=received_us, savepoints=savepoints)
            return batch.write()

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
                for table in COUNTED
            }

    def accounts(self) -> list[GatewayAccount]:
        """Return what became of the messages and readings of each gateway, at one moment."""
        with reading(self._engine) as connection:
            return read_accounts(connection)

    def gateways(self) -> list[RowMapping]:
        """Return gateway, presence and arrival time (`received_us`) of each newest status."""
        query = select(gateways.c.gateway, gateways.c.presence, gateways.c.received_us)
        with self._engine.connect() as connection:
            return list(connection.execute(query.order_by(gateways.c.gateway)).mappings())
