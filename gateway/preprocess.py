"""Step 2: what is wrong with readings before any model sees them. Nothing is dropped in silence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch, Order

__all__ = ["LARGEST", "Checked", "Clocks", "preprocess"]

LARGEST = 1e18
"""Beyond this, sums of squares overflow float32, in which models compute."""


@dataclass(slots=True)
class Clocks:
    """Event time of the newest frame of each asset, microseconds; int64 minimum = none yet."""

    last_us: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def hold(self, assets: int) -> None:
        """Make room for this many assets."""
        self.last_us = grown(self.last_us, assets, fill=np.iinfo(np.int64).min)


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A batch whose values are finite or NaN (missing), and what was found."""

    batch: Batch
    before_us: NDArray[np.int64]
    """[F] event time of the asset's previous frame."""
    missing: int
    """Readings whose value is null."""
    refused: NDArray[np.int64]
    """[k] readings beyond +-1e18: treated as missing."""

    @property
    def backward(self) -> NDArray[np.bool_]:
        """[F] event time is before that of the asset's previous frame."""
        return self.batch.time_us < self.before_us


def preprocess(clocks: Clocks, batch: Batch, order: Order) -> Checked:
    """Check range and order; updates `clocks` to the batch's last frames."""
    missing = int(np.isnan(batch.value).sum())
    excess = np.abs(batch.value) > LARGEST
    refused = np.flatnonzero(excess)
    if refused.size:
        batch = replace(batch, value=np.where(excess, np.nan, batch.value))
    return Checked(batch, _before(clocks, batch, order), missing, refused)


def _before(clocks: Clocks, batch: Batch, order: Order) -> NDArray[np.int64]:
    asset, time_us = batch.asset[order.index], batch.time_us[order.index]
    before = np.empty_like(time_us)
    before[1:] = time_us[:-1]
    before[order.first] = clocks.last_us[asset[order.first]]
    arrived = np.empty_like(before)
    arrived[order.index] = before
    last = np.append(order.first[1:], True)[: asset.size]
    clocks.last_us[asset[last]] = time_us[last]
    return arrived
