"""A screw compressor that keeps a receiver between two pressures by loading and unloading.

The receiver fills by the ideal-gas balance V dp/dt = p0 (delivered - drawn); the switch acts on the
*measured* pressure. A leak shortens the idle part of the cycle, a drifting pressure sensor moves
both switching points, and every temperature follows the duty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensors.recording import Channel
from sensors.simulate.faults import FaultKind
from sensors.simulate.rig import Conditions
from sensors.simulate.signal import lagged, wandering

__all__ = ["COMPRESSOR", "Compressor"]

Column = NDArray[np.float64]

UNLOAD_BAR = 7.5
LOAD_BAR = 6.8
CAPACITY = 6.0  # m3/min of free air
DRAWN = 3.4
RECEIVER_M3 = 1.0
RATED_RPM = 2_950.0
AMPERE_PER_KW = 1_000.0 / (np.sqrt(3.0) * 400.0 * 0.86)
IDLE_KW = 9.0
LOADED_KW_PER_BAR = 3.1


@dataclass(frozen=True, slots=True)
class Cycle:
    """The receiver's course, [rows] each."""

    loaded: Column
    """1 while air is delivered, 0 while idling."""
    pressure: Column
    """True receiver pressure, bar."""
    delivered: Column
    """Free air into the receiver, m3/min."""


class Compressor:
    """Seven channels of a load/unload compressor; satisfies `Rig`."""

    name = "compressor"
    channels = (
        Channel("receiver_pressure", "bar"),
        Channel("air_flow", "m3/min"),
        Channel("current", "A"),
        Channel("speed", "rpm"),
        Channel("discharge_temperature", "degC"),
        Channel("oil_temperature", "degC"),
        Channel("vibration", "mm/s"),
    )
    resolution = (0.001, 0.001, 0.01, 0.1, 0.01, 0.01, 0.001)
    kinds = frozenset(FaultKind) - {FaultKind.CAVITATION}
    default_channel = "receiver_pressure"
    node = ("vibration", "oil_temperature")

    def run(self, conditions: Conditions, *, random: np.random.Generator) -> dict[str, Column]:
        """Return channel -> [rows] measured value."""
        cycle = self.operate(conditions, random=random)
        measured = self.measure(cycle, conditions=conditions, random=random)
        return {
            channel.name: measured[channel.name] + self.drifted(channel.name, conditions)
            for channel in self.channels
        }

    def operate(self, conditions: Conditions, *, random: np.random.Generator) -> Cycle:
        """Return the receiver's course under demand, the switch and the faults of air and power."""
        rows, period_s = len(conditions.t_s), conditions.period_s
        shift = 0.2 * np.sin(2.0 * np.pi * conditions.t_s / 86_400.0 - 1.2)
        gusts = wandering(random, rows=rows, tau_s=240.0, period_s=period_s, scale=0.10)
        drawn = DRAWN * np.exp(shift + gusts) + 1.5 * conditions.grown(FaultKind.LEAK)
        capacity = CAPACITY * (1.0 - 0.3 * conditions.grown(FaultKind.SPIKE))
        error = self.drifted("receiver_pressure", conditions)
        loaded, pressure = switched(
            drawn=drawn, capacity=capacity, error=error, bar_per_flow=period_s / 60.0 / RECEIVER_M3
        )
        delivered = lagged(loaded * capacity, tau_s=1.5, period_s=period_s, start=0.0)
        return Cycle(loaded, pressure, delivered)

    def measure(
        self, cycle: Cycle, *, conditions: Conditions, random: np.random.Generator
    ) -> dict[str, Column]:
        """Return channel -> [rows] sensed value of the course, with sensor noise."""
        rows, period_s = len(cycle.loaded), conditions.period_s
        wear = conditions.grown(FaultKind.BEARING_WEAR)
        dip = conditions.grown(FaultKind.SPIKE)
        friction_kw = 1.2 * (1.0 + 2.0 * wear)
        work_kw = LOADED_KW_PER_BAR * cycle.pressure * cycle.delivered / CAPACITY
        power_kw = IDLE_KW + work_kw + friction_kw
        speed = RATED_RPM * (1.0 - 0.0006 * power_kw - 0.12 * dip)
        ambient = 20.0 + 3.0 * np.sin(2.0 * np.pi * conditions.t_s / 86_400.0 - 2.0)
        heated = ambient + 1.6 * power_kw
        oily = ambient + 18.0 + 5.5 * friction_kw + 0.5 * power_kw
        impacts = wear * np.abs(random.standard_t(4, rows))
        vibration = 1.8 + 1.1 * cycle.delivered / CAPACITY + 1.6 * impacts + 2.0 * dip
        noise = random.normal(size=(5, rows))
        return {
            "receiver_pressure": cycle.pressure + 0.004 * noise[0],
            "air_flow": np.maximum(cycle.delivered + 0.03 * noise[1], 0.0),
            "current": power_kw * AMPERE_PER_KW * (1.0 + 0.6 * dip) + 0.15 * noise[2],
            "speed": speed + 1.0 * noise[3],
            "discharge_temperature": self.warmed(heated, tau_s=120.0, period_s=period_s),
            "oil_temperature": self.warmed(oily, tau_s=600.0, period_s=period_s),
            "vibration": np.abs(vibration + 0.08 * noise[4]),
        }

    def warmed(self, source: Column, *, tau_s: float, period_s: float) -> Column:
        """Return [rows] a temperature that follows its source, from the first minutes' mean."""
        return lagged(source, tau_s=tau_s, period_s=period_s, start=float(source[:300].mean()))

    def drifted(self, channel: str, conditions: Conditions) -> Column:
        """Return [rows] the error of a drifting sensor, in its unit."""
        return DRIFT_AT_FULL[channel] * conditions.drift(
            channel, default_channel=self.default_channel
        )


DRIFT_AT_FULL = {
    "receiver_pressure": 0.6,
    "air_flow": 1.2,
    "current": 8.0,
    "speed": 80.0,
    "discharge_temperature": 12.0,
    "oil_temperature": 10.0,
    "vibration": 1.5,
}


def switched(
    *, drawn: Column, capacity: Column, error: Column, bar_per_flow: float
) -> tuple[Column, Column]:
    """Return loaded (0 or 1) and true pressure: the one recurrence that needs a row at a time."""
    loaded = np.empty(len(drawn))
    pressure = np.empty(len(drawn))
    level, state = 7.0, 1.0
    rows = zip(drawn.tolist(), capacity.tolist(), error.tolist(), strict=True)
    for row, (taken, given, wrong) in enumerate(rows):
        seen = level + wrong
        state = 0.0 if seen >= UNLOAD_BAR else 1.0 if seen <= LOAD_BAR else state
        loaded[row], pressure[row] = state, level
        level = max(level + (state * given - taken) * bar_per_flow, 0.0)
    return loaded, pressure


COMPRESSOR = Compressor()
