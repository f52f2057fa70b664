"""Recorded messages: what the recorder wrote, read back as messages or as recordings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np

from sensors.errors import RecordingError
from sensors.formats.jsonl import read_objects
from sensors.recording import Channel, Chunk, Recording, recording_of
from wire.codec import decode_readings
from wire.errors import WireError
from wire.messages import ReadingMessage
from wire.topics import check_name

__all__ = ["RecordedMessage", "is_recorded", "read_messages", "recorded", "recordings_of_messages"]


class RecordedMessage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of the recorder's file; a payload that is no JSON stands in `payload_base64`."""

    topic: str
    arrived_ms: float
    """Milliseconds since 1970-01-01 UTC at which the recorder had it."""
    payload: msgspec.Raw = msgspec.Raw()
    """The payload as JSON without insignificant blanks."""
    payload_base64: bytes | None = None

    def payload_bytes(self) -> bytes:
        """Return the payload to publish again."""
        return bytes(self.payload) if self.payload_base64 is None else self.payload_base64


@dataclass(slots=True)
class SourceRows:
    """The rows of one source so far."""

    t_us: list[int] = field(default_factory=list)
    values: list[dict[str, float | None]] = field(default_factory=list)
    seen: set[tuple[str, int]] = field(default_factory=set)

    def add(self, reading: ReadingMessage) -> None:
        """Take a message's row, once for each identity."""
        if reading.id not in self.seen:
            self.seen.add(reading.id)
            self.t_us.append(round(reading.t * 1000))
            self.values.append(reading.values)


def is_recorded(path: Path) -> bool:
    """Tell whether the recorder wrote the file; raise RecordingError when it cannot be read."""
    if not path.name.removesuffix(".gz").endswith(".jsonl"):
        return False
    return any({"topic", "arrived_ms"} <= row.keys() for _, row in islice(read_objects(path), 1))


def read_messages(path: Path) -> Iterator[RecordedMessage]:
    """Yield every recorded message in file order; raise RecordingError."""
    for line, row in read_objects(path):
        try:
            if "payload" in row:
                row["payload"] = msgspec.Raw(msgspec.json.encode(row["payload"]))
            yield msgspec.convert(row, RecordedMessage)
        except msgspec.ValidationError as error:
            raise RecordingError(
                path, line=line, expected="a recorded message", got=str(error)
            ) from error


def recordings_of_messages(path: Path) -> list[Recording]:
    """Return the recorded readings of our own sensors, one recording a source, rows in memory.

    Channels come in order of first sight; messages of other topics are passed over. Raises
    RecordingError when no message holds readings.
    """
    sources: dict[str, SourceRows] = {}
    for message in read_messages(path):
        source = readings_source(message.topic)
        if source is None:
            continue
        rows = sources.setdefault(source, SourceRows())
        for reading in readings_of(message):
            rows.add(reading)
    if not any(rows.t_us for rows in sources.values()):
        raise RecordingError(
            path, expected="messages on topics .../readings/<source>",
            got="none (replay others with --verbatim)",
        )  # fmt: skip
    return [from_rows(rows, asset=name, origin=path.name) for name, rows in sources.items()]


def readings_source(topic: str) -> str | None:
    """Return the source of a readings topic below any root, None for another topic."""
    *_, kind, source = ["", *topic.split("/")]
    try:
        return check_name(source, what="source") if kind == "readings" else None
    except WireError:
        return None


def readings_of(message: RecordedMessage) -> list[ReadingMessage]:
    """Return the message's readings, none when it is no readings message."""
    try:
        return decode_readings(message.payload_bytes())
    except WireError:
        return []


def from_rows(rows: SourceRows, *, asset: str, origin: str) -> Recording:
    """Return the rows as a recording; a channel that a row lacks is missing there."""
    names = list(dict.fromkeys(name for values in rows.values for name in values))
    values = np.array(
        [[nan_for_null(row.get(name)) for name in names] for row in rows.values]
    ).reshape(len(rows.values), len(names))
    chunk = Chunk(np.array(rows.t_us, dtype=np.int64), values)
    return recording_of(chunk, asset=asset, channels=tuple(map(Channel, names)), origin=origin)


def nan_for_null(value: float | None) -> float:
    """Return the value, NaN for null."""
    return math.nan if value is None else value


def recorded(topic: str, *, payload: bytes, arrived_ms: float) -> RecordedMessage:
    """Return the message as the recorder writes it."""
    try:
        compact = msgspec.json.encode(msgspec.json.decode(payload))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return RecordedMessage(topic=topic, arrived_ms=arrived_ms, payload_base64=payload)
    return RecordedMessage(topic=topic, arrived_ms=arrived_ms, payload=msgspec.Raw(compact))
