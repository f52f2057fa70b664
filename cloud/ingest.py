"""From (topic, payload) to what the store keeps: pure, and every message finds its place."""

from __future__ import annotations

from dataclasses import dataclass

from wire.blocks import ExcerptBlock, SummaryBlock, decode_excerpt, decode_summaries
from wire.codec import decode_json
from wire.errors import MessageError, TopicError, WireError
from wire.messages import AlertEvent, GatewayStatus
from wire.topics import GatewayKind, GatewayTopic, Topics

__all__ = [
    "KINDS",
    "AlertRecord",
    "ExcerptRecord",
    "Record",
    "Rejection",
    "StatusRecord",
    "SummaryRecord",
    "read_message",
]

KINDS: tuple[GatewayKind, ...] = ("summaries", "excerpts", "alerts", "status")
"""What the cloud subscribes to, of every gateway."""
SHOWN = 500


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
class StatusRecord:
    """A gateway's status, with the bytes it came as."""

    status: GatewayStatus
    payload: bytes


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that cannot be taken in; `reason` is a short code for counters."""

    topic: str
    reason: str
    detail: str
    size_bytes: int


Record = SummaryRecord | ExcerptRecord | AlertRecord | StatusRecord | Rejection


def read_message(topics: Topics, *, topic: str, payload: bytes) -> Record:
    """Decode one message of a gateway; a Rejection says why it is none. Raises nothing."""
    try:
        address = topics.parse(topic)
        if not isinstance(address, GatewayTopic) or address.kind not in KINDS:
            raise TopicError(f"expected {', '.join(KINDS)} of a gateway, got {topic[:120]!r}")
        return _decode(address, payload)
    except WireError as error:
        reason = error.reason if isinstance(error, MessageError) else "topic"
        return Rejection(topic[:SHOWN], reason, str(error)[:SHOWN], len(payload))


def _decode(address: GatewayTopic, payload: bytes) -> Record:
    match address.kind:
        case "summaries":
            summaries = decode_summaries(payload)
            _check_same("gateway", address.gateway, summaries.gateway)
            return SummaryRecord(summaries)
        case "excerpts":
            excerpt = decode_excerpt(payload)
            _check_same("gateway", address.gateway, excerpt.gateway)
            return ExcerptRecord(excerpt, payload)
        case "alerts":
            event = decode_json(payload, AlertEvent)
            _check_same("gateway", address.gateway, event.data.gateway)
            _check_same("asset", address.tail or "", event.data.asset)
            return AlertRecord(event, payload)
        case _:
            status = decode_json(payload, GatewayStatus)
            _check_same("gateway", address.gateway, status.gateway)
            return StatusRecord(status, payload)


def _check_same(what: str, in_topic: str, in_payload: str) -> None:
    if in_topic != in_payload:
        raise MessageError(
            f"wrong_{what}", f"expected {in_topic!r} as in the topic, got {in_payload[:80]!r}"
        )
