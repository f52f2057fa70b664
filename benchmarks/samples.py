"""What a process holds, sampled over a long run, and whether it stays the same."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from gateway.durable.recovery import DATABASE

__all__ = ["FLAT", "Samples", "Trend", "trend_of"]

FLAT = 0.05
WARM_UP = 0.2
THIRDS = 3
MINUTES_AN_HOUR = 60.0
KINDS = ("rss_mb", "threads", "fds", "wal_mb", "database_mb")


@dataclass(frozen=True, slots=True)
class Trend:
    """How one figure moved after the warm-up."""

    median: float
    drift: float
    """Median of the last third against that of the first, as a share of it."""
    slope_per_hour: float
    """Of the straight line that fits best."""
    deviation: float
    """Largest distance from the median, as a share of it."""
    largest: float

    @property
    def is_flat(self) -> bool:
        """Whether it stays where it is."""
        return abs(self.drift) <= FLAT


@dataclass(slots=True)
class Samples:
    """Figures by kind, with the minutes at which they were taken."""

    minutes: list[float] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def take(self, pid: int, storage: Path, *, minute: float) -> dict[str, float]:
        """Look at a process and its storage now."""
        process = psutil.Process(pid)
        now = {
            "rss_mb": process.memory_info().rss / 1e6,
            "threads": float(process.num_threads()),
            "fds": float(process.num_fds()),
            "wal_mb": size_mb(storage / f"{DATABASE}-wal"),
            "database_mb": size_mb(storage / DATABASE),
        }
        self.minutes.append(minute)
        for kind, value in now.items():
            self.values[kind].append(round(value, 2))
        return now

    def trends(self) -> dict[str, Trend]:
        """Return how each figure moved after the first fifth of the run."""
        warm = [minute >= WARM_UP * self.minutes[-1] for minute in self.minutes]
        kept = [index for index, is_warm in enumerate(warm) if is_warm]
        minutes = [self.minutes[index] for index in kept]
        return {
            kind: trend_of(minutes, [values[index] for index in kept])
            for kind, values in self.values.items()
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the samples one by one."""
        return [
            {"minute": round(minute, 2), **{kind: self.values[kind][index] for kind in KINDS}}
            for index, minute in enumerate(self.minutes)
        ]


def trend_of(minutes: Sequence[float], values: Sequence[float]) -> Trend:
    """Return how a figure moved; three samples or more."""
    middle = statistics.median(values)
    part = max(len(values) // THIRDS, 1)
    first, last = statistics.median(values[:part]), statistics.median(values[-part:])
    slope = float(np.polyfit(minutes, values, 1)[0]) * MINUTES_AN_HOUR
    distance = max(abs(value - middle) for value in values)
    return Trend(
        median=middle,
        drift=share(last - first, first),
        slope_per_hour=slope,
        deviation=share(distance, middle),
        largest=max(values),
    )


def share(part: float, whole: float) -> float:
    """Return part / whole; 0 where there is no whole."""
    return part / whole if whole else 0.0


def size_mb(path: Path) -> float:
    """Size of a file, 10^6 bytes; 0 where there is none."""
    return path.stat().st_size / 1e6 if path.exists() else 0.0
