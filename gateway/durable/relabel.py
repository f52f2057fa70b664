"""An entry under another number, where its own turned out to be taken."""

from __future__ import annotations

import dataclasses

import msgspec

from gateway.outbox import Entry
from wire.blocks import decode_excerpt, decode_summaries, encode_excerpt, encode_summaries
from wire.codec import decode_json, encode_json
from wire.messages import AlertEvent, GapMessage

__all__ = ["relabel"]


def relabel(entry: Entry, *, epoch: str, seq: int) -> Entry:
    """Return the entry with another (epoch, seq), in its payload too; raise MessageError."""
    payload = _relabelled(entry, epoch, seq)
    return dataclasses.replace(entry, payload=payload, epoch=epoch, seq=seq)


def _relabelled(entry: Entry, epoch: str, seq: int) -> bytes:
    match entry.kind:
        case "summaries":
            summaries = decode_summaries(entry.payload)
            return encode_summaries(dataclasses.replace(summaries, epoch=epoch, seq=seq))
        case "excerpts":
            excerpt = decode_excerpt(entry.payload)
            return encode_excerpt(dataclasses.replace(excerpt, epoch=epoch, seq=seq))
        case "gaps":
            gap = decode_json(entry.payload, GapMessage)
            return encode_json(msgspec.structs.replace(gap, epoch=epoch, seq=seq))
        case _:
            event = decode_json(entry.payload, AlertEvent)
            return encode_json(msgspec.structs.replace(event, epoch=epoch, seq=seq))
