"""FEMTO-ST PRONOSTIA bearings run to failure: bursts of two accelerations at 25.6 kHz.

Nectoux et al., PRONOSTIA: an experimental platform for bearings accelerated degradation tests,
IEEE PHM 2012.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sensors.eventtime import time_parser
from sensors.mapping import ChannelColumn, Mapping, TimeColumn
from sensors.presets.folder import files_under
from sensors.recording import Channel, Chunk, Recording
from sensors.tablefile import open_table, stem_of
from wire.topics import safe_name

__all__ = ["open_femto"]

CLOCK = ("file_no", "hour", "minute", "second", "microsecond")
SENSED = {"acc_horizontal": "acc_horizontal_g", "acc_vertical": "acc_vertical_g"}
SNAPSHOT_S = 10
DAY_US = 86_400_000_000
DAY_ZERO_US = time_parser("iso")("2012-01-01")  # the date of a run is not published
MAPPING = Mapping(
    time=TimeColumn(period_s=1 / 25_600),
    channels={name: ChannelColumn(name) for name in CLOCK}
    | {name: ChannelColumn(column, "g") for name, column in SENSED.items()},
    labels={},
)


def open_femto(path: Path) -> list[Recording]:
    """Open a bearing or a folder of them; time of day is the file's, the date a nominal one.

    Raises RecordingError.
    """
    return [open_file(file) for file in files_under(path, pattern="*.csv.gz")]


def open_file(file: Path) -> Recording:
    """Open one bearing."""
    table = open_table(file, mapping=MAPPING)
    channels = tuple(Channel(name, "g") for name in SENSED)
    asset = safe_name(stem_of(file))
    return Recording(asset, channels, partial(timed, table.chunks), file.name, ())


def timed(read: Callable[[], Iterator[Chunk]]) -> Iterator[Chunk]:
    """Yield the sensed channels under the time that the clock channels tell."""
    first: tuple[float, float] | None = None
    for chunk in read():
        clock, sensed = chunk.values[:, : len(CLOCK)], chunk.values[:, len(CLOCK) :]
        of_day_us = clock[:, 1:] @ np.array([3_600e6, 60e6, 1e6, 1.0])
        first = first or (clock[0, 0], of_day_us[0])
        yield Chunk(run_time_us(clock[:, 0], of_day_us=of_day_us, first=first), sensed)


def run_time_us(
    file_no: NDArray[np.float64], *, of_day_us: NDArray[np.float64], first: tuple[float, float]
) -> NDArray[np.int64]:
    """Return event time; the snapshot's number tells how many midnights have passed."""
    elapsed_us = (file_no - first[0]) * SNAPSHOT_S * 1e6
    days = np.round((elapsed_us - (of_day_us - first[1])) / DAY_US)
    return (DAY_ZERO_US + days * DAY_US + of_day_us).astype(np.int64)
