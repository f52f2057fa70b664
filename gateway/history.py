"""Step 3: the newest rows of every stream in one ring matrix; windows are gathered from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch, Order
from gateway.directory import Directory

__all__ = ["STEP_FRAMES", "History"]

HELD, SEEN, NULL = 0, 1, 2

STEP_FRAMES = 64
"""Most frames of one asset that may be appended before they are read."""


@dataclass(slots=True)
class History:
    """Ring of the last `rows + STEP_FRAMES` frames of every asset; a stream's values lie together.

    A stream that a frame does not mention keeps its last value there, marked as not observed.
    """

    rows: int
    values: NDArray[np.float32] = field(init=False)
    """[streams, length]"""
    observed: NDArray[np.uint8] = field(init=False)
    """[streams, length] 0 = held, 1 = a reading, 2 = held because the reading was null."""
    times_us: NDArray[np.int64] = field(init=False)
    """[assets, length]"""
    frames: NDArray[np.int64] = field(init=False)
    """[assets] frames appended since start."""
    born: NDArray[np.int64] = field(init=False)
    """[streams] frame of the asset at which the stream first appeared, -1 = not yet."""

    def __post_init__(self) -> None:
        length = self.rows + STEP_FRAMES
        self.values = np.zeros((0, length), np.float32)
        self.observed = np.zeros((0, length), np.uint8)
        self.times_us = np.zeros((0, length), np.int64)
        self.frames = np.zeros(0, np.int64)
        self.born = np.zeros(0, np.int64)

    @property
    def length(self) -> int:
        """Frames that the ring holds."""
        return self.rows + STEP_FRAMES

    def hold(self, directory: Directory) -> None:
        """Make room for the directory's assets and streams."""
        self.values = grown(self.values, directory.stream_count)
        self.observed = grown(self.observed, directory.stream_count)
        self.born = grown(self.born, directory.stream_count, fill=-1)
        self.times_us = grown(self.times_us, directory.asset_count)
        self.frames = grown(self.frames, directory.asset_count)

    def relaid(self, rows: int, directory: Directory) -> History:
        """Return a ring of another length that holds the newest frames of this one."""
        other = History(rows)
        other.hold(directory)
        other.frames[: len(self.frames)] = self.frames
        other.born[: len(self.born)] = self.born
        for asset, streams in enumerate(directory.streams_of):
            last = int(self.frames[asset]) if asset < len(self.frames) else 0
            kept = np.arange(max(0, last - min(other.length, self.length)), last)
            to, of = kept % other.length, kept % self.length
            other.times_us[asset, to] = self.times_us[asset, of]
            there, here = (
                np.ix_(np.array(streams, np.int64), to),
                np.ix_(np.array(streams, np.int64), of),
            )
            other.values[there] = self.values[here]
            other.observed[there] = self.observed[here]
        return other

    def append(self, batch: Batch, order: Order, directory: Directory) -> NDArray[np.int64]:
        """Append frames (at most STEP_FRAMES an asset); return each frame's number, [F]."""
        number = self.frames[batch.asset] + order.rank
        slot = number % self.length
        frame = batch.frame
        valid = ~np.isnan(batch.value)
        streams, frames = batch.stream[valid], frame[valid]
        values = batch.value[valid].astype(np.float32)
        self._begin(streams, values, number[frames])
        self.times_us[batch.asset, slot] = batch.time_us
        present = np.bincount(frames, minlength=batch.asset.size)
        partial = np.flatnonzero(present < directory.width[batch.asset])
        self._write_held(batch, partial, (streams, values, slot[frames], frames), slot, directory)
        self.observed[batch.stream[~valid], slot[frame[~valid]]] = NULL
        self.frames[batch.asset] = number + 1  # of equal indices the last one counts
        return number

    def window(
        self, streams: NDArray[np.int64], number: NDArray[np.int64], *, rows: int
    ) -> NDArray[np.float32]:
        """Gather [n, rows, channels]: of `streams` [n, channels] the rows up to frame `number`."""
        slots = (number[:, None] + np.arange(1 - rows, 1)) % self.length
        gathered: NDArray[np.float32] = self.values[streams[:, None, :], slots[:, :, None]]
        return gathered

    def mask(
        self, streams: NDArray[np.int64], number: NDArray[np.int64], *, rows: int
    ) -> NDArray[np.float32]:
        """Gather like `window`: 1 observed, 0 held."""
        slots = (number[:, None] + np.arange(1 - rows, 1)) % self.length
        gathered: NDArray[np.uint8] = self.observed[streams[:, None, :], slots[:, :, None]]
        seen: NDArray[np.bool_] = gathered == SEEN
        return seen.astype(np.float32)

    def newcomers(self, batch: Batch) -> NDArray[np.int64]:
        """Return the readings [k] with which streams appear that had no value before."""
        unborn = np.flatnonzero(self.born[batch.stream] < 0)
        unborn = unborn[~np.isnan(batch.value[unborn])]
        _, first = np.unique(batch.stream[unborn], return_index=True)
        return unborn[first]

    def rows_of(
        self, asset: int, streams: list[int], first: int, last: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return times [n] and values [n, streams] of frames first..last-1; held values are NaN."""
        slots = np.arange(first, last) % self.length
        picked = np.ix_(np.asarray(streams), slots)
        values = np.where(self.observed[picked] == SEEN, self.values[picked], np.float32(np.nan))
        return self.times_us[asset, slots], np.ascontiguousarray(values.T)

    def nulls_of(self, streams: list[int], first: int, last: int) -> NDArray[np.int64]:
        """Return how many readings [streams] of frames first..last-1 were null."""
        slots = np.arange(first, last) % self.length
        nulls: NDArray[np.bool_] = self.observed[np.asarray(streams)[:, None], slots] == NULL
        counts: NDArray[np.int64] = nulls.sum(axis=1)
        return counts

    def _begin(
        self, streams: NDArray[np.int32], values: NDArray[np.float32], number: NDArray[np.int64]
    ) -> None:
        fresh = np.flatnonzero(self.born[streams] < 0)[::-1]  # reversed: the first value stays
        if fresh.size:
            self.values[streams[fresh]] = values[fresh, None]
            self.born[streams[fresh]] = number[fresh]

    def _write_held(
        self,
        batch: Batch,
        partial: NDArray[np.int64],
        readings: tuple[
            NDArray[np.int32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]
        ],
        slot: NDArray[np.int64],
        directory: Directory,
    ) -> None:
        """Write the readings; before each partial frame, carry its asset's streams forward."""
        streams, values, slots, frames = readings
        done = 0
        for index in partial:
            upto = int(np.searchsorted(frames, index))
            self._write(streams[done:upto], slots[done:upto], values[done:upto])
            done = upto
            carried = directory.streams_of[int(batch.asset[index])]
            here = int(slot[index])
            self.values[carried, here] = self.values[carried, here - 1]
            self.observed[carried, here] = HELD
        self._write(streams[done:], slots[done:], values[done:])

    def _write(
        self, streams: NDArray[np.int32], slots: NDArray[np.int64], values: NDArray[np.float32]
    ) -> None:
        self.values[streams, slots] = values
        self.observed[streams, slots] = SEEN
