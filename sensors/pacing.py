"""Pacing: when each row of several recordings is due, at a speed relative to event time."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sensors.errors import SensorsError
from sensors.recording import Recording, Row

__all__ = ["DueRow", "SpeedError", "merged", "parse_speed"]


class SpeedError(SensorsError):
    """A speed that is neither `max` nor a positive factor such as `100x`."""


class DueRow(NamedTuple):
    """One row and when to publish it."""

    due_s: float
    """Seconds after the start of the replay; never less than the row before's."""
    source: int
    """Position of its recording."""
    row: Row


def parse_speed(text: str) -> float:
    """Read `1x`, `100x`, `0.5x` or `max` (infinity) as a factor; raise SpeedError."""
    if text == "max":
        return math.inf
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x", text)
    if match is None or float(match[1]) <= 0:
        raise SpeedError(f"speed: expected max or a factor such as 1x or 100x, got {text!r}")
    return float(match[1])


def merged(recordings: Sequence[Recording], *, speed: float) -> Iterator[DueRow]:
    """Yield the rows of all recordings side by side, each counted from its own start.

    A recording's rows keep their order: one whose time goes back is due with the row before it.
    """
    streams = [offsets(recording, index=n) for n, recording in enumerate(recordings)]
    for offset_us, index, row in heapq.merge(*streams, key=by_offset):
        yield DueRow(offset_us / 1e6 / speed, index, row)


def by_offset(item: tuple[int, int, Row]) -> tuple[int, int]:
    """Order by offset, then by recording."""
    return item[:2]


def offsets(recording: Recording, *, index: int) -> Iterator[tuple[int, int, Row]]:
    """Yield (latest time so far less the first one, index, row)."""
    start_us = latest_us = None
    for row in recording.rows():
        if start_us is None or latest_us is None:
            start_us = latest_us = row.t_us
        latest_us = max(latest_us, row.t_us)
        yield latest_us - start_us, index, row
