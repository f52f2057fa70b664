"""A mergeable quantile sketch: sorted values with weights, deterministic and small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["QuantileSketch"]

POINTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class QuantileSketch:
    """Sorted `values` (channel's unit), each standing for `weights` readings.

    Kept to 256 points of equal weight; merging is associative up to a rank error of 1/256 a step
    (the equal-weight case of the merging digests of Dunning and Ertl, arXiv:1902.04023).
    """

    values: NDArray[np.float64]
    weights: NDArray[np.float64]

    @classmethod
    def from_points(cls, points: NDArray[np.float64], *, count: int) -> QuantileSketch:
        """Make a sketch of `count` readings from equally likely points."""
        ordered = np.sort(np.asarray(points, np.float64))
        return cls(ordered, np.full(ordered.size, count / max(ordered.size, 1)))

    @property
    def count(self) -> float:
        """Readings that the sketch stands for."""
        return float(self.weights.sum())

    def merge(self, other: QuantileSketch) -> QuantileSketch:
        """Return the sketch of both sets of readings together."""
        values = np.concatenate([self.values, other.values])
        weights = np.concatenate([self.weights, other.weights])
        order = np.argsort(values, kind="stable")
        return _compress(values[order], weights[order])

    def quantile(self, level: float) -> float:
        """Return the value below which a share `level` (0 to 1) of the readings lies."""
        if not self.values.size:
            return float("nan")
        middles = np.cumsum(self.weights) - self.weights / 2
        return float(np.interp(level * self.count, middles, self.values))


def _compress(values: NDArray[np.float64], weights: NDArray[np.float64]) -> QuantileSketch:
    if values.size <= POINTS:
        return QuantileSketch(values, weights)
    total = float(weights.sum())
    middles = np.cumsum(weights) - weights / 2
    levels = (np.arange(POINTS) + 0.5) / POINTS * total
    return QuantileSketch(np.interp(levels, middles, values), np.full(POINTS, total / POINTS))
