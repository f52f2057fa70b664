"""Rows of `alert_events`, each message once, and of `alerts`, the newest message of each."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.dml import ReturningInsert

from cloud.database import Upsert, upsert_in
from cloud.records import AlertRecord
from cloud.tables import alert_events, alerts

__all__ = ["insert_alert"]

KEY = ("gateway", "alertid")


def insert_alert(connection: Connection, record: AlertRecord) -> bool:
    """Keep one message of an alert; whether no message of its gateway had its id before."""
    is_new = _insert_event(connection, record)
    if is_new:
        _upsert_newest(connection, record)
    return is_new


def _insert_event(connection: Connection, record: AlertRecord) -> bool:
    event = record.event
    row = {
        "gateway": event.data.gateway,
        "id": event.id,
        "epoch": event.epoch,
        "seq": event.seq,
        "alertid": event.alertid,
        "asset": event.data.asset,
        "state": event.data.state,
        "last_us": int(event.data.last_ms * 1000),
        "payload": record.payload,
    }
    statement = _event_statement(connection.dialect.name)
    return connection.execute(statement, row).first() is not None


def _upsert_newest(connection: Connection, record: AlertRecord) -> None:
    alert = record.event.data
    row = {
        "gateway": alert.gateway,
        "alertid": record.event.alertid,
        "asset": alert.asset,
        "state": alert.state,
        "severity": alert.severity,
        "start_us": int(alert.start_ms * 1000),
        "last_us": int(alert.last_ms * 1000),
        "event": record.payload,
    }
    connection.execute(_newest_statement(connection.dialect.name), row)


@cache
def _event_statement(dialect: str) -> ReturningInsert[Any]:
    """Returns the row's id if the row is new."""
    statement = upsert_in(dialect, alert_events).on_conflict_do_nothing()
    return statement.returning(alert_events.c.id)


@cache
def _newest_statement(dialect: str) -> Upsert:
    statement = upsert_in(dialect, alerts)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=KEY,
        set_={column.name: new[column.name] for column in alerts.c if column.name not in KEY},
        where=(alerts.c.state != "closed") & (alerts.c.last_us <= new.last_us),
    )
