"""From (topic, payload) to what the store keeps: pure, and every message finds its place."""

from __future__ import annotations

from cloud.place import LedgerKey, Place
from cloud.records import (
    AlertRecord,
    ConfirmRecord,
    ExcerptRecord,
    GapRecord,
    Record,
    Rejection,
    StatusRecord,
    SummaryRecord,
    place_of,
)
from wire.blocks import decode_excerpt, decode_summaries
from wire.codec import decode_json
from wire.errors import MessageError, TopicError, WireError
from wire.messages import AlertEvent, ConfirmRequest, GapMessage, GatewayStatus
from wire.topics import GatewayKind, GatewayTopic, Topics

__all__ = ["KINDS", "read_message", "unstorable"]

KINDS: tuple[GatewayKind, ...] = (
    "summaries",
    "excerpts",
    "alerts",
    "gaps",
    "status",
    "confirm",
)
"""What the cloud subscribes to, of every gateway."""
SHOWN = 500
MAX_RANGE = 10**12
MAX_READINGS = 10**15
"""Bounds (counts) on what one message reports, so that sums stay within 64 bits."""


def read_message(topics: Topics, *, topic: str, payload: bytes) -> Record:
    """Decode one message of a gateway; a Rejection says why it is none. Raises nothing."""
    try:
        address = topics.parse(topic)
        if not isinstance(address, GatewayTopic) or address.kind not in KINDS:
            raise TopicError(f"expected {', '.join(KINDS)} of a gateway, got {topic[:120]!r}")
        return _decode(address, payload)
    except WireError as error:
        reason = error.reason if isinstance(error, MessageError) else "topic"
        return Rejection(_shown(topic), reason, _shown(str(error)), len(payload))


def unstorable(record: Record, detail: str) -> Rejection:
    """Return what is kept of a record that no database of ours takes."""
    match record:
        case SummaryRecord(block):
            readings, size_bytes = int(block.rows.count.sum()), 0
        case AlertRecord(_, payload) | ExcerptRecord(_, payload) | StatusRecord(_, payload):
            readings, size_bytes = 0, len(payload)
        case _:
            readings, size_bytes = 0, 0
    kind = type(record).__name__
    return Rejection(
        kind, "unstorable", _shown(detail), size_bytes, place_of(record), readings=readings
    )


def _decode(address: GatewayTopic, payload: bytes) -> Record:
    match address.kind:
        case "summaries":
            summaries = decode_summaries(payload)
            _check_same("gateway", address.gateway, summaries.gateway)
            _check_text(summaries.epoch)
            return SummaryRecord(summaries)
        case "excerpts":
            excerpt = decode_excerpt(payload)
            _check_same("gateway", address.gateway, excerpt.gateway)
            _check_text(excerpt.epoch)
            return ExcerptRecord(excerpt, payload)
        case "alerts":
            event = decode_json(payload, AlertEvent)
            _check_same("gateway", address.gateway, event.data.gateway)
            _check_same("asset", address.tail or "", event.data.asset)
            _check_text(event.epoch)
            return AlertRecord(event, payload)
        case "gaps":
            gap = decode_json(payload, GapMessage)
            _check_same("gateway", address.gateway, gap.gateway)
            _check_text(gap.epoch, gap.lost_epoch, gap.source, gap.kind)
            return _gap_record(gap, len(payload))
        case "confirm":
            request = decode_json(payload, ConfirmRequest)
            _check_same("gateway", address.gateway, request.sender)
            _check_text(request.epoch)
            _check_request(request)
            return ConfirmRecord(request)
        case _:
            status = decode_json(payload, GatewayStatus)
            _check_same("gateway", address.gateway, status.gateway)
            return StatusRecord(status, payload)


def _gap_record(gap: GapMessage, size_bytes: int) -> GapRecord | Rejection:
    """Return a report that can be counted; else a Rejection that takes its place."""
    if problem := _problem(gap):
        place = Place(LedgerKey(gap.gateway, gap.epoch), gap.seq)
        return Rejection(f"gaps of {gap.gateway}", "bad_range", problem, size_bytes, place)
    return GapRecord(gap)


def _problem(gap: GapMessage) -> str:
    count = gap.last - gap.first + 1
    if not 1 <= count <= MAX_RANGE:
        return f"expected 1 to {MAX_RANGE} messages, got {gap.first} to {gap.last}"
    if gap.readings and len(gap.readings) != count:
        return f"expected {count} counts of readings, got {len(gap.readings)}"
    if (readings := sum(gap.readings)) > MAX_READINGS:
        return f"expected at most {MAX_READINGS} readings, got {readings}"
    return ""


def _check_request(request: ConfirmRequest) -> None:
    if request.first > MAX_RANGE:
        raise MessageError("bad_range", f"expected first <= {MAX_RANGE}, got {request.first}")


def _check_text(*texts: str) -> None:
    """Refuse what PostgreSQL takes in no text."""
    if any("\0" in text for text in texts):
        raise MessageError("bad_text", f"expected text without NUL, got {texts!r}"[:SHOWN])


def _shown(text: str) -> str:
    """Return the start of a text as any database takes it."""
    return text[:SHOWN].encode(errors="replace").decode().replace("\0", "?")


def _check_same(what: str, in_topic: str, in_payload: str) -> None:
    if in_topic != in_payload:
        raise MessageError(
            f"wrong_{what}", f"expected {in_topic!r} as in the topic, got {in_payload[:80]!r}"
        )
