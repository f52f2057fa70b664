"""Entries of the outbox as rows of a table, with a checksum over everything that they say."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from gateway.outbox import Entry

__all__ = ["Kept", "checksum", "kept_of", "values_of", "with_crc"]


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry of the outbox as it was stored."""

    entry: Entry
    made_ms: int
    """Wall clock, milliseconds since 1970-01-01 UTC."""
    sound: bool
    """Whether its bytes are what was written."""


def checksum(entry: Entry) -> int:
    """CRC-32 over everything that an entry says."""
    head = f"{entry.epoch} {entry.seq} {entry.kind} {entry.topic} {entry.readings} "
    return zlib.crc32(entry.payload, zlib.crc32(head.encode()))


def with_crc(pair: tuple[Any, Any]) -> tuple[Any, Any, int]:
    """Return a key, its value and a checksum of both."""
    return (*pair, zlib.crc32(repr(pair).encode()))


def values_of(entry: Entry, made_ms: int) -> tuple[Any, ...]:
    """Return an entry as columns of the outbox, without id."""
    return (
        entry.epoch,
        entry.seq,
        entry.kind,
        entry.topic,
        entry.payload,
        entry.readings,
        made_ms,
        checksum(entry),
    )


def kept_of(values: tuple[Any, ...]) -> Kept:
    """Undo `values_of`."""
    epoch, seq, kind, topic, payload, readings, made_ms, crc = values
    if not isinstance(payload, bytes):  # what a damaged page says is of any type
        payload, crc = b"", None
    entry = Entry(kind, topic, payload, epoch=epoch, seq=seq, readings=readings)
    return Kept(entry, made_ms, sound=checksum(entry) == crc)
