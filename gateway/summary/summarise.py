"""Step 7: the summaries of one asset's rows, one a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.summary.knots import trend
from wire.blocks import SKETCH_POINTS, SummaryColumns

__all__ = ["summarise"]

LARGEST = float(np.finfo(np.float32).max)
LEVELS = (np.arange(SKETCH_POINTS) + 0.5) / SKETCH_POINTS


def summarise(
    times_us: NDArray[np.int64], values: NDArray[np.float32], nulls: NDArray[np.int64]
) -> tuple[list[int], SummaryColumns]:
    """Summarise rows [n] x streams [n, c]; NaN = no reading, for which `nulls` [c] were null.

    Returns the columns (0..c-1) that held a reading and their summaries in that order; `asset` and
    `channel` of the summaries are left 0 for the caller's block to number.
    """
    present = ~np.isnan(values)
    kept = [int(c) for c in np.flatnonzero(present.any(axis=0))]
    parts = [_one(times_us[present[:, c]], values[present[:, c], c]) for c in kept]
    stacked = {name: np.array([part[name] for part in parts]) for name in _SCALARS}
    return kept, SummaryColumns(
        asset=np.zeros(len(kept), np.uint16),
        channel=np.zeros(len(kept), np.uint16),
        start_us=stacked["start_us"].astype(np.int64),
        end_us=stacked["end_us"].astype(np.int64),
        count=stacked["count"].astype(np.uint32),
        missing=nulls[kept].astype(np.uint32),
        mean=stacked["mean"].astype(np.float32),
        variance=np.minimum(stacked["variance"], LARGEST).astype(np.float32),
        low=stacked["low"].astype(np.float32),
        high=stacked["high"].astype(np.float32),
        first=stacked["first"].astype(np.float32),
        last=stacked["last"].astype(np.float32),
        error=stacked["error"].astype(np.float32),
        knots=np.array([part["knot_us"].size for part in parts], np.uint16),
        knot_us=np.concatenate([part["knot_us"] for part in parts] or [np.zeros(0, np.int64)]),
        knot_value=np.concatenate(
            [part["knot_value"] for part in parts] or [np.zeros(0, np.float32)]
        ),
        sketch=np.array([part["sketch"] for part in parts], np.uint8).reshape(-1, SKETCH_POINTS),
    )


_SCALARS = (
    "start_us", "end_us", "count", "mean", "variance", "low", "high", "first", "last", "error"
)  # fmt: skip


def _one(
    times_us: NDArray[np.int64], values: NDArray[np.float32]
) -> dict[str, NDArray[np.generic]]:
    exact = values.astype(np.float64)
    knots, error = trend(times_us, values)
    return {
        "start_us": times_us[0],
        "end_us": times_us[-1],
        "count": np.int64(exact.size),
        "mean": exact.mean(),
        "variance": exact.var(),
        "low": values.min(),
        "high": values.max(),
        "first": values[0],
        "last": values[-1],
        "error": np.float64(error),
        "knot_us": times_us[knots] - times_us[0],
        "knot_value": values[knots],
        "sketch": _sketch(exact),
    }


def _sketch(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Quantiles (i + 0.5)/16 in 1/255 of the span."""
    low, high = values.min(), values.max()
    points = np.sort(values)[np.minimum((LEVELS * values.size).astype(np.int64), values.size - 1)]
    span = high - low
    scaled = (points - low) / span * 255 if span > 0 else np.zeros(SKETCH_POINTS)
    return np.rint(scaled).astype(np.uint8)
