"""Synthetic streams of normal operation: what the default model is calibrated on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["mixture"]

READINGS_A_DAY = 1440


def mixture(
    rng: np.random.Generator, *, each: int = 16, readings: int = 12_288
) -> NDArray[np.float64]:
    """Return `[4 * each, readings]` (no unit): four kinds of normal streams, `each` of a kind.

    White Gaussian noise; Student-t noise with 4 degrees of freedom; AR(1) with coefficient 0.9;
    a sine with 1,440 readings a period and amplitude 1 to 10 under unit noise.
    """
    shape = (each, readings)
    gaussian = rng.standard_normal(shape)
    heavy = rng.standard_t(4, shape)
    correlated = _autoregressive(rng.standard_normal(shape), coefficient=0.9)
    phase = np.arange(readings) / READINGS_A_DAY + np.arange(each)[:, None] / each
    amplitude = np.geomspace(1, 10, each)[:, None]
    daily = amplitude * np.sin(2 * np.pi * phase) + rng.standard_normal(shape)
    return np.concatenate([gaussian, heavy, correlated, daily])


def _autoregressive(noise: NDArray[np.float64], *, coefficient: float) -> NDArray[np.float64]:
    out = noise.copy()
    for column in range(1, out.shape[1]):
        out[:, column] += coefficient * out[:, column - 1]
    return out
