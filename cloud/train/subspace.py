"""Sub-PCA for many assets at once: scaling tables, stacked bases, scores in float64.

A window is compared with a probabilistic PCA of the asset's own windows (Tipping and Bishop
1999): what lies outside the subspace counts in full, what lies inside counts by noise over spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.train.history import AssetHistory, hold_missing, windows_of

__all__ = [
    "CLIP",
    "Scaling",
    "Subspaces",
    "deviations",
    "explaining_components",
    "fit_scaling",
    "fit_subspaces",
    "raw_scores",
]

Array = NDArray[np.float64]

CLIP = 1e6
"""Scaled values are clipped to +-CLIP, so that no input can make a score infinite."""
CONSTANT = 1e-6
CONSTANT_SCALE = 0.02
NOISE_FLOOR = 1e-4
EXPLAINED = 0.9
MAX_COMPONENTS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Centre and scale of each channel, [channels], in the channels' units."""

    centre: Array
    scale: Array

    def windows(self, history: AssetHistory, window: int) -> Array:
        """Return the scaled windows of a history, flat: [windows, window * channels]."""
        return windows_of([self._scaled(segment) for segment in history.segments], window)

    def _scaled(self, segment: NDArray[np.float32]) -> Array:
        held = hold_missing(segment.astype(np.float64) - self.centre)
        return np.clip(held / self.scale, -CLIP, CLIP)


@dataclass(frozen=True, slots=True, eq=False)
class Subspaces:
    """Stacked over assets: `basis` [assets, k, window * channels], `shrink` [assets, k]."""

    basis: Array
    shrink: Array


def fit_scaling(history: AssetHistory) -> Scaling:
    """Median and interquartile scale; the standard deviation where that is much larger.

    A constant channel gets 2 % of its level as scale, 1 unit where the level is 0.
    """
    values = np.concatenate(history.segments).astype(np.float64)
    values[~np.isfinite(values)] = np.nan
    values[:, np.isnan(values).all(axis=0)] = 0.0
    percentile = np.nanpercentile if np.isnan(values).any() else np.percentile
    low, centre, high = percentile(values, [25, 50, 75], axis=0)
    spread = (high - low) / 1.349
    spread = np.maximum(spread, np.nanstd(np.clip(values, -1e150, 1e150), axis=0) / 3)
    level = np.abs(centre)
    constant = np.where(level > 0, CONSTANT_SCALE * level, 1.0)
    return Scaling(centre, np.where(spread > CONSTANT * level, spread, constant))


def explaining_components(moments: Array) -> int:
    """Return how many components (1 to 8, fewer than d) explain 90 % of the median asset."""
    values = np.maximum(np.linalg.eigvalsh(moments)[:, ::-1], 0.0)
    share = np.cumsum(values, axis=1) / np.maximum(values.sum(axis=1, keepdims=True), 1e-30)
    needed = int(np.median((share < EXPLAINED).sum(axis=1) + 1))
    return min(needed, MAX_COMPONENTS, int(values.shape[1]) - 1)


def fit_subspaces(moments: Array, *, components: int) -> Subspaces:
    """Fit stacked second moments [assets, d, d] with `components` < d components each.

    The noise is taken as at least 1 % of a channel's scale.
    """
    k = components
    values, vectors = np.linalg.eigh(moments)
    values = np.maximum(values[:, ::-1], 0.0)
    noise = np.maximum(values[:, k:].mean(axis=1), NOISE_FLOOR)[:, None]
    shrink = 1 - np.sqrt(np.minimum(noise / np.maximum(values[:, :k], noise), 1.0))
    return Subspaces(_oriented(vectors[:, :, ::-1][:, :, :k].transpose(0, 2, 1)), shrink)


def deviations(windows: Array, *, basis: Array, shrink: Array) -> Array:
    """Return what is left of flat windows [n, d] of one asset after shrinking its subspace."""
    return windows - ((windows @ basis.T) * shrink) @ basis


def raw_scores(windows: Array, *, basis: Array, shrink: Array) -> Array:
    """Return the root mean square [n] of `deviations`, in units of the channels' scales."""
    rest = deviations(windows, basis=basis, shrink=shrink)
    return np.asarray(np.sqrt(np.mean(rest * rest, axis=1)))


def _oriented(basis: Array) -> Array:
    """Fix the sign of each component: its largest element is positive."""
    largest = np.abs(basis).argmax(axis=2)[:, :, None]
    return basis * np.where(np.take_along_axis(basis, largest, axis=2) < 0, -1.0, 1.0)
