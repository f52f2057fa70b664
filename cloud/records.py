"""What the messages of gateways are once they are decoded."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.place import LedgerKey, Place
from wire.blocks import ExcerptBlock, SummaryBlock
from wire.messages import AlertEvent, ConfirmRequest, GapMessage, GatewayStatus

__all__ = [
    "AlertRecord",
    "ConfirmRecord",
    "ExcerptRecord",
    "GapRecord",
    "Record",
    "Rejection",
    "StatusRecord",
    "SummaryRecord",
    "keys_of",
    "place_of",
]


@dataclass(frozen=True, slots=True)
class SummaryRecord:
    """A block of summaries."""

    block: SummaryBlock


@dataclass(frozen=True, slots=True)
class ExcerptRecord:
    """An excerpt, with the bytes it came as."""

    block: ExcerptBlock
    payload: bytes


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """A phase of an alert, with the bytes it came as."""

    event: AlertEvent
    payload: bytes


@dataclass(frozen=True, slots=True)
class GapRecord:
    """A report of what will never come."""

    gap: GapMessage


@dataclass(frozen=True, slots=True)
class StatusRecord:
    """A gateway's status, with the bytes it came as."""

    status: GatewayStatus
    payload: bytes


@dataclass(frozen=True, slots=True)
class ConfirmRecord:
    """A gateway's question up to where its messages are stored."""

    request: ConfirmRequest


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that cannot be taken in; `reason` is a short code for counters.

    Where its place is known it counts as a gap, as it would not fit the next time either;
    `readings` (count) None = not known.
    """

    topic: str
    reason: str
    detail: str
    size_bytes: int
    place: Place | None = None
    readings: int | None = None


Record = (
    SummaryRecord
    | ExcerptRecord
    | AlertRecord
    | GapRecord
    | StatusRecord
    | ConfirmRecord
    | Rejection
)


def place_of(record: Record) -> Place | None:
    """Return the number that a record takes in its gateway's ledger; None = it takes none."""
    match record:
        case SummaryRecord(block) | ExcerptRecord(block):
            return Place(LedgerKey(block.gateway, block.epoch), block.seq)
        case AlertRecord(event) if event.epoch and event.seq:
            return Place(LedgerKey(event.data.gateway, event.epoch), event.seq)
        case GapRecord(gap):
            return Place(LedgerKey(gap.gateway, gap.epoch), gap.seq)
        case Rejection():
            return record.place
        case _:
            return None


def keys_of(record: Record) -> list[LedgerKey]:
    """Return every ledger that a record may change."""
    place = place_of(record)
    keys = [] if place is None else [place.key]
    match record:
        case GapRecord(gap) if not gap.source:
            keys.append(LedgerKey(gap.gateway, gap.lost_epoch))
        case ConfirmRecord(request):
            keys.append(LedgerKey(request.sender, request.epoch))
    return keys
