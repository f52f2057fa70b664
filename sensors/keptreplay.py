"""A replay that keeps its rows: interrupted, it goes on where it stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from zlib import crc32

from sensors.encoder import kept_body
from sensors.errors import RecordingError
from sensors.kept import KeptReadings
from sensors.keptpublisher import KeptPublisher
from sensors.pacing import DueRow, merged
from sensors.recording import Recording
from sensors.replay import PROGRESS_ROWS, ReplayCounts, paced_rows

__all__ = ["replay_kept"]


def replay_kept(
    recordings: Sequence[Recording],
    *,
    publisher: KeptPublisher,
    kept: KeptReadings,
    speed: float,
    progress: Callable[[int], None] = lambda _rows: None,
) -> ReplayCounts:
    """Keep and publish every row under its asset's name and wait until all are confirmed.

    The sources are those of `begin`. Rows that an interrupted replay took are passed over; the
    counts are of this call. Waits while the file is full. Raises PublishError, KeptFileError, or
    RecordingError, also when the recording is not the one that was interrupted.
    """
    started_s = time.monotonic()
    messages, payload_bytes = publisher.messages, publisher.payload_bytes
    rows = readings = 0
    due = due_again(rows_not_taken(recordings, kept=kept, speed=speed))
    for rows, (source, row) in enumerate(paced_rows(due, serve=publisher.serve), start=1):
        recording = recordings[source]
        publisher.keep(recording.asset, kept_body(names_of(recording), row))
        readings += sum(map(math.isfinite, row.values))
        if rows % PROGRESS_ROWS == 0:
            progress(PROGRESS_ROWS)
        if kept.held_bytes >= kept.limit_bytes // 2:
            publisher.wait_for_room()
    publisher.drain()
    progress(rows % PROGRESS_ROWS)
    return ReplayCounts(
        messages=publisher.messages - messages,
        rows=rows,
        readings=readings,
        payload_bytes=publisher.payload_bytes - payload_bytes,
        elapsed_s=time.monotonic() - started_s,
    )


def rows_not_taken(
    recordings: Sequence[Recording], *, kept: KeptReadings, speed: float
) -> Iterator[DueRow]:
    """Yield the rows that the file has not taken; raise RecordingError when it took others."""
    states = [kept.sources[recording.asset] for recording in recordings]
    left = [state.taken for state in states]
    crcs = [0] * len(recordings)
    for due in merged(recordings, speed=speed):
        n = due.source
        if left[n] == 0:
            yield due
            continue
        left[n] -= 1
        crcs[n] = crc32(kept_body(names_of(recordings[n]), due.row), crcs[n])
        if left[n] == 0 and crcs[n] != states[n].taken_crc:
            raise another_recording(recordings[n], kept=kept)
    for n, rows in enumerate(left):
        if rows > 0:
            raise another_recording(recordings[n], kept=kept)


def another_recording(recording: Recording, *, kept: KeptReadings) -> RecordingError:
    """Return the error of a recording that does not begin with the rows taken."""
    taken = kept.sources[recording.asset].taken
    return RecordingError(
        recording.origin,
        expected=f"a recording of {recording.asset} that begins with the {taken} rows that "
        f"{kept.path} took before it was interrupted",
        got="others; give the same recording, or --keep FILE with another file",
    )


def due_again(rows: Iterator[DueRow]) -> Iterator[DueRow]:
    """Yield the rows with the first one due at once."""
    start_s = None
    for due in rows:
        start_s = due.due_s if start_s is None else start_s
        yield due._replace(due_s=due.due_s - start_s)


def names_of(recording: Recording) -> list[str]:
    """Return the names of the recording's channels."""
    return [channel.name for channel in recording.channels]
