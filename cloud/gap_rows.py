"""Rows of `gaps`: what will never come, each message in one row at most."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select

from cloud.place import LedgerKey
from cloud.spans import Span, Spans, length, without
from cloud.tables import gaps
from wire.messages import GapMessage

__all__ = [
    "REJECTED",
    "UNKNOWN",
    "WITHHELD",
    "insert_own_gap",
    "insert_source_gap",
    "insert_unreported",
    "take_unreported",
]

UNKNOWN = "unknown"
"""Reason: as WITHHELD, from the epoch's first message on: this database is younger, or set back."""
WITHHELD = "withheld"
"""Reason: the gateway holds it no longer and has not said why."""
REJECTED = "rejected"
"""Reason: it came and could not be taken in; see table `rejected`."""
UNREPORTED = (UNKNOWN, WITHHELD)
KIND_WITH_READINGS = "summaries"


def insert_source_gap(connection: Connection, gap: GapMessage, *, received_us: int) -> None:
    """Keep a report of a source's messages that are lost; each counts as one reading."""
    part = (gap.first, gap.last)
    row = _reported(gap, part, readings=length([part]), received_us=received_us)
    connection.execute(insert(gaps), row)


def insert_own_gap(
    connection: Connection, gap: GapMessage, *, parts: Iterable[Span], received_us: int
) -> None:
    """Keep a report of the gateway's own messages, for those `parts` of it that are not stored.

    Where everything is stored, the report is kept with an empty range: last = first - 1.
    """
    for part in list(Spans(parts)) or [(gap.first, gap.first - 1)]:
        readings = _readings_of(gap, part)
        row = _reported(gap, part, readings=readings, received_us=received_us)
        connection.execute(insert(gaps), row)


def insert_unreported(
    connection: Connection,
    key: LedgerKey,
    *,
    parts: Iterable[Span],
    reason: str,
    readings: int | None = None,
    received_us: int,
) -> None:
    """Keep what is lost without a report; `readings` (count) None = not known."""
    for part in parts:
        row = _row(key, part, reason=reason, readings=readings, received_us=received_us)
        connection.execute(insert(gaps), row)


def take_unreported(connection: Connection, gap: GapMessage) -> list[Span]:
    """Return which parts of a report were noted as lost before it came, and forget that note.

    So the report's own row takes their place, with its reason and its readings.
    """
    taken = []
    for found in _unreported(connection, gap):
        whole = (found["first"], found["last"])
        part = max(whole[0], gap.first), min(whole[1], gap.last)
        connection.execute(delete(gaps).where(gaps.c.id == found["id"]))
        row = {name: value for name, value in found.items() if name != "id"}
        for first, last in without(whole, [part]):
            connection.execute(insert(gaps), {**row, "first": first, "last": last})
        taken.append(part)
    return taken


def _unreported(connection: Connection, gap: GapMessage) -> list[RowMapping]:
    query = select(gaps).where(
        gaps.c.gateway == gap.gateway,
        gaps.c.lost_epoch == gap.lost_epoch,
        gaps.c.source == "",
        gaps.c.reason.in_(UNREPORTED),
        gaps.c.first <= gap.last,
        gaps.c.last >= gap.first,
    )
    return list(connection.execute(query).mappings())


def _readings_of(gap: GapMessage, part: Span) -> int | None:
    """Count of readings in a part of a report; None where the report does not tell."""
    first, last = part
    if gap.readings or last < first:
        return sum(gap.readings[first - gap.first : last - gap.first + 1])
    return None if gap.kind in ("", KIND_WITH_READINGS) else 0


def _reported(
    gap: GapMessage, part: Span, *, readings: int | None, received_us: int
) -> dict[str, Any]:
    key = LedgerKey(gap.gateway, gap.lost_epoch)
    row = _row(key, part, reason=gap.reason, readings=readings, received_us=received_us)
    told = {"source": gap.source, "kind": gap.kind, "epoch": gap.epoch, "seq": gap.seq}
    return {**row, **told}


def _row(
    key: LedgerKey, part: Span, *, reason: str, readings: int | None, received_us: int
) -> dict[str, Any]:
    return {
        "gateway": key.gateway,
        "lost_epoch": key.epoch,
        "source": "",
        "first": part[0],
        "last": part[1],
        "reason": reason,
        "kind": "",
        "readings": readings,
        "epoch": "",
        "seq": 0,
        "received_us": received_us,
    }
