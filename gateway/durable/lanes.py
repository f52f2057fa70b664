"""Where each lane of the outbox stands when a gateway starts."""

from __future__ import annotations

from gateway.durable.cursor import Cursor
from gateway.durable.database import Database
from gateway.edge import Edge, lane_epoch
from gateway.outbox import LANES

__all__ = ["cursors_of", "promise_key"]


def cursors_of(database: Database, edge: Edge) -> list[Cursor]:
    """Return where each lane stands: those of former epochs first, the present ones always."""
    present = {lane_epoch(edge.epoch, lane): edge.lanes[lane] for lane in LANES}
    lanes = {epoch: last for epoch, _, last, *_ in database.lanes()}
    return [
        _cursor(database, epoch, max(last, present.get(epoch, 0)), is_present=epoch in present)
        for epoch, last in (lanes | {e: present[e] for e in present if e not in lanes}).items()
    ]


def _cursor(database: Database, epoch: str, last: int, *, is_present: bool) -> Cursor:
    begin = database.confirmed.get(epoch, 0)
    promised = int(database.meta.get(promise_key(epoch), "0"))
    return Cursor(epoch, begin, begin, max(last, begin), promised, is_present)


def promise_key(epoch: str) -> str:
    """Key of the note up to where a lane may have been sent."""
    return f"sent:{epoch}"
