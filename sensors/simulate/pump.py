"""A centrifugal pump that holds its discharge pressure by speed.

The operating point is where the pump curve H = h0 s^2 - k q^2 meets the system curve
H = static + R q^2 (Gulich, Centrifugal Pumps, 2020); s is the speed ratio. The controller solves
for the s that gives the *measured* discharge pressure, so a fault shows wherever physics and
control carry it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensors.recording import Channel
from sensors.simulate.faults import FaultKind
from sensors.simulate.rig import Conditions
from sensors.simulate.signal import lagged, wandering

__all__ = ["PUMP", "Pump"]

Column = NDArray[np.float64]

RATED_RPM = 1_450.0
BAR_PER_M = 0.0981
SHUT_OFF_M = 40.0
PUMP_LOSS = 0.010  # m per (m3/h)^2
SYSTEM_LOSS = 0.022
STATIC_M = 8.0
SUCTION_BAR = 0.60
SUCTION_LOSS = 0.0006  # bar per (m3/h)^2
SETPOINT_BAR = 2.60
SPEED_RANGE = (0.5, 1.06)
BEST_FLOW = 27.0  # m3/h, where vibration is least
KW_PER_HEAD_FLOW = 9.81 / 3_600.0
EFFICIENCY = 0.68
AMPERE_PER_KW = 1_000.0 / (np.sqrt(3.0) * 400.0 * 0.85)
IDLE_KW = 0.55


@dataclass(frozen=True, slots=True)
class Flows:
    """The operating point, [rows] each."""

    speed: Column
    """Ratio to the rated speed."""
    flow: Column
    """Through the pump, m3/h."""
    delivered: Column
    """Past the leak, m3/h."""
    suction_bar: Column
    head_m: Column


class Pump:
    """Eight channels of a motor-driven pump; satisfies `Rig`."""

    name = "pump"
    channels = (
        Channel("speed", "rpm"),
        Channel("flow", "m3/h"),
        Channel("suction_pressure", "bar"),
        Channel("discharge_pressure", "bar"),
        Channel("current", "A"),
        Channel("vibration", "mm/s"),
        Channel("bearing_temperature", "degC"),
        Channel("fluid_temperature", "degC"),
    )
    resolution = (0.1, 0.01, 0.001, 0.001, 0.01, 0.001, 0.01, 0.01)
    kinds = frozenset(FaultKind)
    default_channel = "discharge_pressure"
    node = ("vibration", "bearing_temperature")

    def run(self, conditions: Conditions, *, random: np.random.Generator) -> dict[str, Column]:
        """Return channel -> [rows] measured value."""
        flows = self.operate(conditions, random=random)
        measured = self.measure(flows, conditions=conditions, random=random)
        return {
            channel.name: measured[channel.name] + self.drifted(channel.name, conditions)
            for channel in self.channels
        }

    def operate(self, conditions: Conditions, *, random: np.random.Generator) -> Flows:
        """Return the operating point under demand, control and the hydraulic faults."""
        demand = self.demand(conditions, random=random)
        cavitation = conditions.grown(FaultKind.CAVITATION)
        open_path = 1.0 / np.sqrt(SYSTEM_LOSS * demand)
        leak_path = 2.2 * conditions.grown(FaultKind.LEAK)
        system = 1.0 / (open_path + leak_path) ** 2
        collapse = cavitation * (0.12 + 0.10 * np.abs(random.normal(size=len(demand))))
        suction_loss = SUCTION_LOSS * (1.0 + 1.6 * cavitation)
        loss = PUMP_LOSS + suction_loss / BAR_PER_M
        wanted_bar = SETPOINT_BAR - SUCTION_BAR - self.drifted("discharge_pressure", conditions)
        wanted_m = wanted_bar / BAR_PER_M
        speed = self.controlled(wanted_m, loss=loss, system=system, conditions=conditions)
        dip = conditions.grown(FaultKind.SPIKE)
        speed = speed * (1.0 - 0.25 * dip)
        lift = SHUT_OFF_M * speed**2 * (1.0 - collapse) - STATIC_M
        flow = np.sqrt(np.maximum(lift, 0.0) / (loss + system))
        return Flows(
            speed=speed,
            flow=flow,
            delivered=flow * open_path / (open_path + leak_path),
            suction_bar=SUCTION_BAR - suction_loss * flow**2,
            head_m=STATIC_M + (system + suction_loss / BAR_PER_M) * flow**2,
        )

    def demand(self, conditions: Conditions, *, random: np.random.Generator) -> Column:
        """Return [rows] the consumers' resistance as a ratio to the nominal one."""
        daily = 0.15 * np.sin(2.0 * np.pi * conditions.t_s / 86_400.0 - 0.9)
        hourly = wandering(
            random, rows=len(daily), tau_s=600.0, period_s=conditions.period_s, scale=0.08
        )
        return np.exp(daily + hourly)

    def controlled(
        self, wanted_m: Column, *, loss: Column, system: Column, conditions: Conditions
    ) -> Column:
        """Return [rows] the speed ratio that gives the wanted pressure, lagged and limited."""
        squared = (wanted_m * (loss + system) - loss * STATIC_M) / (SHUT_OFF_M * system)
        target = np.clip(np.sqrt(np.maximum(squared, 0.0)), *SPEED_RANGE)
        return lagged(target, tau_s=8.0, period_s=conditions.period_s, start=float(target[0]))

    def measure(
        self, flows: Flows, *, conditions: Conditions, random: np.random.Generator
    ) -> dict[str, Column]:
        """Return channel -> [rows] sensed value of the operating point, with sensor noise."""
        rows, period_s = len(flows.speed), conditions.period_s
        wear = conditions.grown(FaultKind.BEARING_WEAR)
        cavitation = conditions.grown(FaultKind.CAVITATION)
        dip = conditions.grown(FaultKind.SPIKE)
        friction_kw = 0.18 * flows.speed * (1.0 + 2.4 * wear)
        shaft_kw = KW_PER_HEAD_FLOW * flows.head_m * flows.flow / EFFICIENCY
        current = (IDLE_KW + shaft_kw + friction_kw) * AMPERE_PER_KW * (1.0 + 0.7 * dip)
        off_best = (flows.flow / (BEST_FLOW * flows.speed) - 1.0) ** 2
        impacts = wear * np.abs(random.standard_t(4, rows))
        rough = cavitation * np.abs(random.normal(1.6, 0.7, rows))
        vibration = flows.speed**2 * (1.1 + 2.5 * off_best + 1.3 * impacts) + rough + 1.5 * dip
        ambient = 22.0 + 3.0 * np.sin(2.0 * np.pi * conditions.t_s / 86_400.0 - 2.0)
        heated = ambient + 16.0 * flows.speed**2 + 65.0 * friction_kw
        inlet = ambient - 4.0 + 6.0 * shaft_kw / np.maximum(flows.flow, 5.0)
        discharge = flows.suction_bar + BAR_PER_M * flows.head_m
        noise = random.normal(size=(6, rows))
        return {
            "speed": RATED_RPM * flows.speed + 0.8 * noise[0],
            "flow": flows.delivered + (0.12 + 0.5 * cavitation) * noise[1],
            "suction_pressure": flows.suction_bar + (0.002 + 0.010 * cavitation) * noise[2],
            "discharge_pressure": discharge + (0.006 + 0.03 * cavitation) * noise[3],
            "current": current + 0.04 * noise[4],
            "vibration": np.abs(vibration + 0.06 * noise[5]),
            "bearing_temperature": self.warmed(heated, tau_s=900.0, period_s=period_s),
            "fluid_temperature": self.warmed(inlet, tau_s=300.0, period_s=period_s),
        }

    def warmed(self, source: Column, *, tau_s: float, period_s: float) -> Column:
        """Return [rows] a temperature that follows its source, in balance at the start."""
        return lagged(source, tau_s=tau_s, period_s=period_s, start=float(source[0]))

    def drifted(self, channel: str, conditions: Conditions) -> Column:
        """Return [rows] the error of a drifting sensor, in its unit."""
        return DRIFT_AT_FULL[channel] * conditions.drift(
            channel, default_channel=self.default_channel
        )


DRIFT_AT_FULL = {
    "speed": 60.0,
    "flow": 4.0,
    "suction_pressure": 0.2,
    "discharge_pressure": 0.45,
    "current": 1.5,
    "vibration": 1.2,
    "bearing_temperature": 9.0,
    "fluid_temperature": 5.0,
}

PUMP = Pump()
