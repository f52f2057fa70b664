"""A replay: recordings published side by side at a chosen speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sensors.encoder import SourceEncoder
from sensors.pacing import DueRow, merged
from sensors.publisher import Publisher
from sensors.recorded import RecordedMessage
from sensors.recording import Recording, Row
from wire.topics import Topics

__all__ = ["ReplayCounts", "replay", "replay_messages"]

PROGRESS_ROWS = 512


@dataclass(frozen=True, slots=True)
class ReplayCounts:
    """What a replay published; every message of it was acknowledged."""

    messages: int
    rows: int
    readings: int
    """Values that are not null."""
    payload_bytes: int
    elapsed_s: float


def replay(
    recordings: Sequence[Recording],
    *,
    publisher: Publisher,
    topics: Topics,
    epoch: str,
    speed: float,
    rows_per_message: int = 1,
    progress: Callable[[int], None] = lambda _rows: None,
) -> ReplayCounts:
    """Publish every row under its asset's name and wait until all are acknowledged.

    `speed` is the factor to event time (infinity = as fast as the broker takes them). `progress`
    is told now and then how many rows were published since it was last told.
    Raises PublishError or RecordingError.
    """
    started_s = time.monotonic()
    messages, payload_bytes = publisher.messages, publisher.payload_bytes
    sources = sources_of(recordings, topics=topics, epoch=epoch, rows_per_message=rows_per_message)
    rows = 0
    paced = paced_rows(merged(recordings, speed=speed), serve=publisher.serve)
    for rows, (source, row) in enumerate(paced, start=1):
        topic, encoder = sources[source]
        if (payload := encoder.encode(row)) is not None:
            publisher.publish(topic, payload)
        if rows % PROGRESS_ROWS == 0:
            progress(PROGRESS_ROWS)
    for topic, encoder in sources:
        if (payload := encoder.flush()) is not None:
            publisher.publish(topic, payload)
    publisher.drain()
    progress(rows % PROGRESS_ROWS)
    return ReplayCounts(
        messages=publisher.messages - messages,
        rows=rows,
        readings=sum(encoder.readings for _, encoder in sources),
        payload_bytes=publisher.payload_bytes - payload_bytes,
        elapsed_s=time.monotonic() - started_s,
    )


def paced_rows(
    rows: Iterable[DueRow], *, serve: Callable[[float], None]
) -> Iterator[tuple[int, Row]]:
    """Yield (position of the recording, row) when each is due; `serve` passes the time between."""
    started_s = time.monotonic()
    for due_s, source, row in rows:
        if due_s > 0 and (early_s := started_s + due_s - time.monotonic()) > 0:
            serve(early_s)
        yield source, row


def sources_of(
    recordings: Sequence[Recording], *, topics: Topics, epoch: str, rows_per_message: int
) -> list[tuple[str, SourceEncoder]]:
    """Return each recording's topic and the encoder that numbers its rows."""
    return [
        (
            topics.readings(recording.asset),
            SourceEncoder(
                [channel.name for channel in recording.channels],
                epoch=epoch,
                rows_per_message=rows_per_message,
            ),
        )
        for recording in recordings
    ]


def replay_messages(
    messages: Iterable[RecordedMessage], *, publisher: Publisher, speed: float
) -> int:
    """Publish recorded messages under their own topics, paced by arrival; return their number.

    Raises PublishError or RecordingError.
    """
    started_s = time.monotonic()
    first_ms = None
    published = 0
    for message in messages:
        first_ms = message.arrived_ms if first_ms is None else first_ms
        due_s = (message.arrived_ms - first_ms) / 1e3 / speed
        publisher.serve(max(0.0, started_s + due_s - time.monotonic()))
        publisher.publish(message.topic, message.payload_bytes())
        published += 1
    publisher.drain()
    return published
