"""Step 2: what is wrong with readings before any model sees them. Nothing is dropped in silence."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch, Order

__all__ = ["Checked", "Clocks", "preprocess"]

LARGEST = 1e30  # beyond this, squares overflow float32, in which models compute


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
    backward: NDArray[np.bool_]
    """[F] event time is before that of the asset's previous frame."""
    missing: int
    """Readings whose value is null."""
    out_of_range: int
    """Readings beyond +-1e30: refused, treated as missing."""


def preprocess(clocks: Clocks, batch: Batch, order: Order) -> Checked:
    """Check range and order; updates `clocks` to the batch's last frames."""
    missing = int(np.isnan(batch.value).sum())
    excess = np.abs(batch.value) > LARGEST
    refused = int(excess.sum())
    if refused:
        batch = replace(batch, value=np.where(excess, np.nan, batch.value))
    return Checked(batch, _backward(clocks, batch, order), missing, refused)


def _backward(clocks: Clocks, batch: Batch, order: Order) -> NDArray[np.bool_]:
    asset, time_us = batch.asset[order.index], batch.time_us[order.index]
    before = np.empty_like(time_us)
    before[1:] = time_us[:-1]
    before[order.first] = clocks.last_us[asset[order.first]]
    backward = np.empty(asset.size, np.bool_)
    backward[order.index] = time_us < before
    last = np.append(order.first[1:], True)[: asset.size]
    clocks.last_us[asset[last]] = time_us[last]
    return backward
