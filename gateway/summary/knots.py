"""Swinging-door compression: few straight lines that stay within a bound of every reading.

E. H. Bristol, "Swinging door trending: adaptive trend recording?", ISA 1990. The bound follows
each stream's own noise; where even that needs too many knots it is doubled, and always stated.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_KNOTS", "choose_bound", "reconstruct", "swing", "trend"]

MAX_KNOTS = 32
NOISE_FACTOR = 3.0
SPAN_SHARE = 0.01
SHORTEST_S = 1e-9  # readings may share a time stamp
ROUNDING = 2.0**-46
"""Share of the largest value by which another reader's float64 line may lie beside ours."""


def trend(
    times_us: NDArray[np.int64], values: NDArray[np.float32]
) -> tuple[NDArray[np.int64], float]:
    """Choose knots for [n] readings with rising times.

    Returns their indices (first and last included, at most MAX_KNOTS) and the bound, in the unit
    of the values, on the distance of any reading from the line between its neighbouring knots.
    """
    seconds = (times_us - times_us[0]) / 1e6
    exact = values.astype(np.float64)
    bound = choose_bound(exact)
    while True:
        knots = swing(seconds, exact, bound=bound)
        if knots.size <= MAX_KNOTS:
            break
        bound *= 2
    since_us = times_us - times_us[0]
    distance = np.abs(exact - reconstruct(since_us, since_us[knots], values[knots])).max()
    rounding = ROUNDING * np.abs(exact).max()
    return knots, float(np.nextafter(np.float32(distance + rounding), np.float32(np.inf)))


def choose_bound(values: NDArray[np.float64]) -> float:
    """1 % of the span, or three times the noise (MAD of second differences) if that is more."""
    span = float(values.max()) - float(values.min())
    if values.size < 3:
        return span * SPAN_SHARE
    second = np.abs(np.diff(values, 2))
    noise = float(np.median(second)) / 0.6745 / math.sqrt(6.0)
    return max(span * SPAN_SHARE, NOISE_FACTOR * noise)


def swing(
    seconds: NDArray[np.float64], values: NDArray[np.float64], *, bound: float
) -> NDArray[np.int64]:
    """Return indices of knots such that every reading is within `bound` of the line."""
    times, readings = seconds.tolist(), values.tolist()
    knots = [0]
    while knots[-1] < len(readings) - 1:
        knots.append(_reach(times, readings, knots[-1], bound))
    return np.array(knots, np.int64)


def reconstruct(
    times_us: NDArray[np.int64], knot_us: NDArray[np.int64], knot_value: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Values of the trend at `times_us`; both times count from the same zero."""
    return np.interp(times_us.astype(np.float64), knot_us.astype(np.float64), knot_value)


def _reach(times: list[float], readings: list[float], start: int, bound: float) -> int:
    """Return the furthest reading whose straight line from `start` passes all between."""
    begin, base = times[start], readings[start]
    lowest, highest, furthest = -math.inf, math.inf, start + 1
    for index in range(start + 1, len(readings)):
        run = max(times[index] - begin, SHORTEST_S)
        rise = readings[index] - base
        low, high = (rise - bound) / run, (rise + bound) / run
        if low > lowest:  # noqa: PLR1730 - a call of max costs twice as much, and this loop counts
            lowest = low
        if high < highest:  # noqa: PLR1730 - as above
            highest = high
        if lowest > highest:
            break
        if lowest <= rise / run <= highest:
            furthest = index
    return furthest
