"""What the demo plays: six pumps with labelled faults, or somebody's recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sensors.catalogue import open_recordings
from sensors.recording import Recording
from sensors.simulate.faults import parse_fault
from sensors.simulate.simulation import START_US, simulate

__all__ = ["Script", "own_script", "pumps", "recorded_script"]

DURATION_S = 2 * 86_400.0
PERIOD_S = 60.0
OWN_SPEED = 10_000.0
RECORDED_SPEED = 100.0
FAULTS = {
    1: ("cavitation@30h+2h",),
    2: ("leak@34h+3h",),
    3: ("bearing_wear@36h",),
    4: ("stuck_sensor@40h+4h",),
}
PUMPS = 6


@dataclass(frozen=True, slots=True)
class Script:
    """Recordings, how fast they run, and how much history the first training waits for."""

    recordings: Sequence[Recording]
    speed: float
    """Factor to event time."""
    min_rows: int
    """Rows of an asset before the cloud trains."""
    ready_share: float
    """Share of the assets that must have them; with all of them the model is always the same."""


def own_script(*, seed: int, speed: float | None) -> Script:
    """Six simulated pumps; the first day is normal, and the first training waits for it."""
    return Script(pumps(seed=seed, cycle=0), speed or OWN_SPEED, min_rows=1440, ready_share=1.0)


def recorded_script(path: Path, *, preset: str | None, speed: float | None) -> Script:
    """Recordings of a folder or file; raises sensors.errors.SensorsError."""
    return Script(
        open_recordings(path, preset=preset), speed or RECORDED_SPEED, min_rows=384, ready_share=0.8
    )


def pumps(*, seed: int, cycle: int) -> list[Recording]:
    """Two days of readings, one a minute and channel; each cycle goes on where the last ended."""
    return [
        simulate(
            "pump",
            duration_s=DURATION_S,
            period_s=PERIOD_S,
            seed=seed + number + PUMPS * cycle,
            faults=[parse_fault(text) for text in FAULTS.get(number, ())],
            start_us=START_US + int(cycle * DURATION_S * 1e6),
            asset=f"pump-{number}",
        )
        for number in range(1, PUMPS + 1)
    ]
