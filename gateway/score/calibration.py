"""Scores to p-values, kept as L = -log10 p so that tiny ones stay exact."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wire.contract import Calibration

__all__ = ["MAX_L", "surprise"]

MAX_L = 300.0
"""Smallest p-value that is told apart: 1e-300."""


def surprise(calibration: Calibration, score: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return -log10 p of each score [n]: table inside, generalised-Pareto tail beyond its end."""
    scores = np.asarray(calibration.scores)
    levels = -np.log10(np.asarray(calibration.p))
    table = np.interp(score, scores, levels)
    beyond = np.flatnonzero(score > scores[-1])
    if beyond.size:
        excess = (score[beyond].astype(np.float64) - scores[-1]) / calibration.beta
        table[beyond] = levels[-1] + _tail(excess, calibration.xi)
    capped: NDArray[np.float64] = np.minimum(table, MAX_L)
    return capped


def _tail(excess: NDArray[np.float64], xi: float) -> NDArray[Any]:
    if xi < 1e-9:
        return np.asarray(excess / np.log(10.0))
    return np.asarray(np.log10(1.0 + xi * excess) / xi)
