"""The unit of work: readings as numpy columns, grouped in frames.

A frame is what one asset reported for one time stamp: one or more readings of its streams.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Draft", "Order", "order_of"]


@dataclass(slots=True)
class Draft:
    """A batch in the making: plain lists, because appending to them is cheapest."""

    asset: list[int] = field(default_factory=list)
    time_ms: list[float] = field(default_factory=list)
    width: list[int] = field(default_factory=list)
    stream: list[int] = field(default_factory=list)
    value: list[float] = field(default_factory=list)
    seq: list[int] = field(default_factory=list)
    """Number of each frame's message among its source's; 0 = the source numbers nothing."""

    def batch(self) -> Batch:
        """Freeze into columns; times become whole microseconds."""
        time_us = np.rint(np.array(self.time_ms, np.float64) * 1000.0).astype(np.int64)
        return Batch(
            asset=np.array(self.asset, np.int32),
            time_us=time_us,
            width=np.array(self.width, np.int32),
            stream=np.array(self.stream, np.int32),
            value=np.array(self.value, np.float64),
            seq=np.array(self.seq, np.int64),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """F frames with R readings, in order of arrival; readings of a frame lie side by side."""

    asset: NDArray[np.int32]
    """[F] asset index."""
    time_us: NDArray[np.int64]
    """[F] event time, microseconds since 1970-01-01 UTC."""
    width: NDArray[np.int32]
    """[F] readings in the frame, 1 or more."""
    stream: NDArray[np.int32]
    """[R] stream index."""
    value: NDArray[np.float64]
    """[R] value in the stream's unit; NaN = observed as missing."""
    seq: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[F] sequence number of the frame's message, 0 = none; empty where nobody asks for it."""

    @property
    def frame(self) -> NDArray[np.int64]:
        """[R] the frame that each reading belongs to."""
        return np.repeat(np.arange(self.asset.size), self.width)

    def take(self, frames: NDArray[np.bool_]) -> Batch:
        """Keep the marked frames [F]."""
        readings = np.repeat(frames, self.width)
        return Batch(
            self.asset[frames],
            self.time_us[frames],
            self.width[frames],
            self.stream[readings],
            self.value[readings],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """How the frames of a batch follow one another inside each asset."""

    index: NDArray[np.int64]
    """[F] frames sorted by asset, arrival order kept."""
    first: NDArray[np.bool_]
    """[F] in sorted order: whether a frame is its asset's first in the batch."""
    rank: NDArray[np.int64]
    """[F] in arrival order: how many frames of the same asset came before in the batch."""

    @property
    def depth(self) -> int:
        """Largest number of frames of one asset."""
        return int(self.rank.max(initial=-1)) + 1


def order_of(asset: NDArray[np.int32] | NDArray[np.int64]) -> Order:
    """Sort frames by asset and count them within each."""
    index = np.argsort(asset, kind="stable")
    ordered = asset[index]
    first = np.ones(ordered.size, np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    positions = np.arange(ordered.size)
    starts = np.maximum.accumulate(np.where(first, positions, 0))
    rank = np.empty(ordered.size, np.int64)
    rank[index] = positions - starts
    return Order(index, first, rank)
