"""Which messages of a gateway are dealt with: each number once, in the batch's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select, tuple_, update

from cloud.database import upsert
from cloud.place import LedgerKey
from cloud.spans import Span, Spans
from cloud.tables import ledgers, spans

__all__ = ["Ledger", "open_ledgers", "save_ledgers"]


class Ledger:
    """The numbers of one epoch that are stored or known to be lost, as read and as they are now."""

    def __init__(self, *, stored_seq: int = 0, beyond: Iterable[Span] = ()) -> None:
        self.read_seq = stored_seq
        self.read_beyond = tuple(beyond)
        self._taken = Spans([(0, stored_seq), *self.read_beyond])

    @property
    def stored_seq(self) -> int:
        """The number below the first hole; 0 = number 1 is missing."""
        return next(iter(self._taken))[1]

    @property
    def beyond(self) -> tuple[Span, ...]:
        """The spans above the first hole."""
        return tuple(self._taken)[1:]

    def claim(self, seq: int) -> bool:
        """Take one number; whether it is new."""
        return bool(self.cover((seq, seq)))

    def cover(self, span: Span) -> list[Span]:
        """Take all numbers of a span; return the parts of it that are new."""
        return self._taken.add(span)


def open_ledgers(connection: Connection, keys: Iterable[LedgerKey]) -> dict[LedgerKey, Ledger]:
    """Read the ledgers, making those that are missing, and lock them for the transaction.

    Another writer of the same ledgers waits; the order of the keys keeps two from a deadlock.
    """
    return {key: _open(connection, key) for key in sorted(keys)}


def save_ledgers(connection: Connection, opened: Mapping[LedgerKey, Ledger]) -> None:
    """Write what changed in ledgers that `open_ledgers` returned in this transaction."""
    for key, ledger in opened.items():
        _save_stored_seq(connection, key, ledger)
        _save_beyond(connection, key, ledger)


def _open(connection: Connection, key: LedgerKey) -> Ledger:
    made = upsert(connection, ledgers).values(**_columns(key), stored_seq=0)
    connection.execute(made.on_conflict_do_nothing())
    locked = select(ledgers.c.stored_seq).where(_is_of(ledgers, key)).with_for_update()
    stored_seq = connection.execute(locked).scalar_one()
    found = connection.execute(select(spans.c.first, spans.c.last).where(_is_of(spans, key)))
    return Ledger(stored_seq=stored_seq, beyond=[(row.first, row.last) for row in found])


def _save_stored_seq(connection: Connection, key: LedgerKey, ledger: Ledger) -> None:
    if ledger.stored_seq > ledger.read_seq:
        moved = update(ledgers).where(_is_of(ledgers, key)).values(stored_seq=ledger.stored_seq)
        connection.execute(moved)


def _save_beyond(connection: Connection, key: LedgerKey, ledger: Ledger) -> None:
    before, now = set(ledger.read_beyond), set(ledger.beyond)
    for first, last in before - now:
        which = tuple_(spans.c.first, spans.c.last) == (first, last)
        connection.execute(delete(spans).where(_is_of(spans, key), which))
    if come := now - before:
        rows = [{**_columns(key), "first": first, "last": last} for first, last in sorted(come)]
        connection.execute(insert(spans), rows)


def _columns(key: LedgerKey) -> dict[str, Any]:
    return {"gateway": key.gateway, "epoch": key.epoch}


def _is_of(table: Table, key: LedgerKey) -> ColumnElement[bool]:
    return (table.c.gateway == key.gateway) & (table.c.epoch == key.epoch)
