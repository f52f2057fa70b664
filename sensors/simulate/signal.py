"""Signals that rigs are made of: first-order lags and coloured noise, without row loops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["lagged", "wandering"]

Column = NDArray[np.float64]
BLOCK = 128


def lagged(source: Column, *, tau_s: float, period_s: float, start: float) -> Column:
    """Return the first-order lag of a source: y' = (source - y) / tau_s, y before row 0 = start.

    Exact for a source that holds its value between rows. Worked a block at a time by the
    triangular matrix of the recurrence.
    """
    keep = float(np.exp(-period_s / tau_s))
    steps = np.arange(BLOCK)
    gaps = steps[:, None] - steps[None, :]
    kernel = np.where(gaps >= 0, (1.0 - keep) * keep ** np.maximum(gaps, 0), 0.0)
    fading = keep ** (steps + 1)
    padding = (-len(source)) % BLOCK
    blocks = np.pad(source, (0, padding), mode="edge" if len(source) else "constant")
    driven = blocks.reshape(-1, BLOCK) @ kernel.T
    level = start
    for index in range(len(driven)):
        driven[index] += level * fading
        level = driven[index, -1]
    return driven.reshape(-1)[: len(source)]


def wandering(
    random: np.random.Generator, *, rows: int, tau_s: float, period_s: float, scale: float
) -> Column:
    """Return an Ornstein-Uhlenbeck path of standard deviation `scale` and memory `tau_s`."""
    keep = float(np.exp(-period_s / tau_s))
    start = float(random.normal(0.0, scale))
    shocks = random.normal(0.0, scale * np.sqrt((1.0 + keep) / (1.0 - keep)), rows)
    return lagged(shocks, tau_s=tau_s, period_s=period_s, start=start)
