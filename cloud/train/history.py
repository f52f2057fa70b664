"""The training rows of one asset, and the windows in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["AssetHistory", "digest", "hold_missing", "windows_of"]

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class AssetHistory:
    """Rows of one asset in time order, cut where time is missing: no window spans two segments.

    Each segment is float32 [rows, channels] in the channels' own units, NaN = missing.
    """

    asset: str
    channels: tuple[str, ...]
    segments: tuple[Rows, ...]

    @property
    def rows(self) -> int:
        """Rows (count) in all segments."""
        return sum(segment.shape[0] for segment in self.segments)

    def windows(self, window: int) -> int:
        """Windows (count) of `window` rows that lie inside one segment."""
        return sum(max(segment.shape[0] - window + 1, 0) for segment in self.segments)

    def newest(self, rows: int) -> AssetHistory:
        """Return the history that ends as this one and has at most `rows` rows."""
        kept: list[Rows] = []
        for segment in reversed(self.segments):
            if rows <= 0:
                break
            kept.append(segment[-rows:])
            rows -= segment.shape[0]
        return AssetHistory(self.asset, self.channels, tuple(reversed(kept)))

    def cut(self, row: int) -> tuple[AssetHistory, AssetHistory]:
        """Return the history before row `row` and the one from there on."""
        tail = self.newest(self.rows - row)
        head: list[Rows] = []
        for segment in self.segments:
            head.append(segment[:row])
            row -= min(row, segment.shape[0])
        return AssetHistory(self.asset, self.channels, tuple(s for s in head if s.size)), tail


def hold_missing(segment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace NaN (and infinities) by the last value of the column, 0 where there is none yet."""
    present = np.isfinite(segment)
    if present.all():
        return segment
    index = np.where(present, np.arange(segment.shape[0])[:, None], 0)
    np.maximum.accumulate(index, axis=0, out=index)
    held = np.take_along_axis(segment, index, axis=0)
    return np.where(np.isfinite(held), held, 0.0)


def windows_of(segments: Iterable[NDArray[np.float64]], window: int) -> NDArray[np.float64]:
    """Return all windows, flat: `[windows, window * channels]`, oldest row first."""
    parts = [
        np.lib.stride_tricks.sliding_window_view(segment, window, axis=0)
        .transpose(0, 2, 1)
        .reshape(-1, window * segment.shape[1])
        for segment in segments
        if segment.shape[0] >= window
    ]
    return np.concatenate(parts)


def digest(histories: Iterable[AssetHistory]) -> str:
    """SHA-256 of names and values in the order given."""
    state = hashlib.sha256()
    for history in histories:
        state.update("\0".join([history.asset, *history.channels, ""]).encode())
        for segment in history.segments:
            state.update(f"{segment.shape}".encode())
            state.update(np.ascontiguousarray(segment, "<f4").tobytes())
    return state.hexdigest()
