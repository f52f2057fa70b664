"""When a summary ends: by event time, once it holds enough readings to be worth its bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch

__all__ = ["Closed", "Periods"]


class Closed(NamedTuple):
    """Frames first..last-1 of an asset make one summary; `at` is the frame that ended it."""

    asset: int
    first: int
    last: int
    at: int
    """Index in the batch of the frame that came after; -1 = ended by a flush."""


@dataclass(slots=True)
class Periods:
    """Open period of each asset.

    A period ends when event time enters another multiple of `period_us` (shifted by the asset's
    phase) and at least `least_rows` are in, when `most_rows` are in, or when time runs backward.
    """

    period_us: int
    least_rows: int
    most_rows: int
    first: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[assets] first frame number of the open period."""
    index: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[assets] number of the period in event time."""

    def step(
        self,
        batch: Batch,
        number: NDArray[np.int64],
        backward: NDArray[np.bool_],
        phase: NDArray[np.float64],
    ) -> list[Closed]:
        """Take in frames in order; return the periods that ended, in order."""
        assets = int(batch.asset.max()) + 1
        self.first = grown(self.first, assets)
        self.index = grown(self.index, assets, fill=-1)
        shift = (phase[batch.asset] * self.period_us).astype(np.int64)
        index = (batch.time_us + shift) // self.period_us
        rows = number - self.first[batch.asset]
        fresh = rows == 0
        self.index[batch.asset[fresh]] = index[fresh]
        due = (index != self.index[batch.asset]) & (rows >= self.least_rows)
        due |= (rows >= self.most_rows) | (backward & (rows > 0))
        if not due.any():
            return []
        return self._close(batch, number, index, backward, np.unique(batch.asset[due]))

    def flush(self, frames: NDArray[np.int64], *, most: int | None = None) -> list[Closed]:
        """End open periods that hold a row, in order of assets; at most so many."""
        known = self.first.size
        closed = [
            Closed(int(asset), int(self.first[asset]), int(frames[asset]), -1)
            for asset in np.flatnonzero(frames[:known] > self.first[: frames.size])[:most]
        ]
        for period in closed:
            self.first[period.asset] = period.last
        return closed

    def _close(
        self,
        batch: Batch,
        number: NDArray[np.int64],
        index: NDArray[np.int64],
        backward: NDArray[np.bool_],
        assets: NDArray[np.int32],
    ) -> list[Closed]:
        """Walk the frames of the assets that have something due: here order decides."""
        closed: list[Closed] = []
        for frame in np.flatnonzero(np.isin(batch.asset, assets)):
            asset, now, period = int(batch.asset[frame]), int(number[frame]), int(index[frame])
            rows = now - int(self.first[asset])
            left = period != self.index[asset] and rows >= self.least_rows
            if rows and (left or rows >= self.most_rows or backward[frame]):
                closed.append(Closed(asset, int(self.first[asset]), now, int(frame)))
                self.first[asset] = now
                self.index[asset] = period
            elif rows == 0:
                self.index[asset] = period
        return closed
