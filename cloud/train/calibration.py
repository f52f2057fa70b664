"""Score to p-value: an empirical table with a finite-sample correction and a Pareto tail."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.errors import TrainingError
from wire.contract import AlertRule, Calibration

__all__ = ["alert_rule", "calibrate"]

LEVELS = 24
TAIL_COUNT = 50
TAIL_SHARE = 1000
MAX_XI = 0.5
MIN_BETA = 1e-3
DIGITS = 5


def calibrate(scores: NDArray[Any]) -> Calibration:
    """Calibrate on scores of normal operation that the model was not fitted on (no unit).

    p = (number above + 1) / (n + 1) (conformal p-value, Vovk et al. 2005) down to the
    highest 1/1000 of the scores, at least 50; the excesses of those fit a generalised Pareto
    distribution by the method of moments
    (Hosking and Wallis 1987). Raises TrainingError for fewer than 20 finite scores.
    """
    ordered = np.sort(np.asarray(scores, np.float64).reshape(-1))
    ordered = ordered[np.isfinite(ordered)]
    if ordered.size < 20:
        raise TrainingError(f"expected 20 or more scores to calibrate on, got {ordered.size}")
    tail = max(ordered.size // TAIL_SHARE, min(TAIL_COUNT, ordered.size // 10 + 1))
    above = _counts_above(ordered.size, tail)
    knots = np.array([_rounded(ordered[ordered.size - 1 - count]) for count in above])
    p = np.array([_rounded((count + 1) / (ordered.size + 1)) for count in above])
    knots, p = _distinct(knots, p)
    xi, beta = _tail(ordered[ordered > knots[-1]] - knots[-1], scale=float(knots[-1]))
    return Calibration(tuple(knots.tolist()), tuple(p.tolist()), _rounded(xi), _rounded(beta))


def alert_rule(
    p: float = 1e-4, *, p_clear: float = 1e-2, k: int = 3, n: int = 5, clear: int = 20
) -> AlertRule:
    """Return the rule for windowed models: `k` of `n` time stamps below `p` open an episode."""
    return AlertRule(p=p, p_clear=p_clear, k=k, n=n, clear=clear)


def _counts_above(size: int, tail: int) -> NDArray[np.int64]:
    """Numbers of scores above each knot: from almost all, by equal ratios, down to `tail`."""
    spread = np.geomspace(max(size * 0.95, tail + 1), tail, LEVELS)
    return np.unique(spread.astype(np.int64))[::-1]


def _distinct(
    knots: NDArray[np.float64], p: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep the highest p of equal scores; add a knot when all scores are equal."""
    knots, first = np.unique(knots, return_index=True)
    p = p[first]
    if knots.size == 1:
        knots = np.append(knots, _rounded(float(knots[0]) + max(abs(float(knots[0])), MIN_BETA)))
        p = np.append(p, p[0] / 2)
    return knots, p


def _tail(excess: NDArray[np.float64], *, scale: float) -> tuple[float, float]:
    floor = MIN_BETA * max(abs(scale), 1.0)
    if excess.size < 2:
        return 0.0, max(floor, float(excess.mean()) if excess.size else 0.0)
    mean, variance = float(excess.mean()), float(excess.var(ddof=1))
    ratio = mean * mean / variance if variance > 0 else 1.0
    xi = min(max((1 - ratio) / 2, 0.0), MAX_XI)
    return xi, max(mean * (1 - xi), floor)


def _rounded(value: float) -> float:
    """Round to few digits, so that the last bits of a platform's kernels leave no trace."""
    return float(f"{value:.{DIGITS}g}")
