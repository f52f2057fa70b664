"""A simulation: one run of a rig as a recording with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from sensors.errors import SimulationError
from sensors.recording import Chunk, Flags, Recording, recording_of
from sensors.simulate.compressor import COMPRESSOR
from sensors.simulate.faults import Fault, FaultKind, sensed
from sensors.simulate.pump import PUMP
from sensors.simulate.rig import Conditions, Rig
from wire.topics import safe_name

__all__ = ["RIGS", "START_US", "simulate"]

RIGS: Mapping[str, Rig] = MappingProxyType({rig.name: rig for rig in (PUMP, COMPRESSOR)})
START_US = 1_767_225_600_000_000  # 2026-01-01, fixed so that a seed always gives the same bytes
ON_A_SENSOR = (FaultKind.STUCK_SENSOR, FaultKind.DRIFT)


def simulate(
    rig: str,
    *,
    duration_s: float,
    seed: int,
    faults: Sequence[Fault] = (),
    period_s: float = 1.0,
    start_us: int = START_US,
    asset: str | None = None,
) -> Recording:
    """Run a rig; equal arguments give equal rows. The asset is named `<rig>-<seed>` by default.

    Raises SimulationError for an unknown rig, a fault that the rig cannot have, or one that
    starts outside the run.
    """
    machine = rig_named(rig)
    rows = round(duration_s / period_s)
    if rows < 1:
        raise SimulationError(f"expected at least one period of {period_s} s, got {duration_s} s")
    for fault in faults:
        check_fault(fault, machine=machine, duration_s=duration_s)
    t_s = np.arange(rows, dtype=np.float64) * period_s
    conditions = Conditions(t_s=t_s, period_s=period_s, faults=faults)
    return recording_of(
        run(machine, conditions=conditions, seed=seed, start_us=start_us),
        asset=safe_name(asset or f"{rig}-{seed}"),
        channels=machine.channels,
        origin=f"simulated {rig}, seed {seed}",
    )


def rig_named(name: str) -> Rig:
    """Return the rig; raise SimulationError for an unknown name."""
    if name not in RIGS:
        raise SimulationError(f"rig: expected one of {', '.join(RIGS)}, got {name!r}")
    return RIGS[name]


def check_fault(fault: Fault, *, machine: Rig, duration_s: float) -> None:
    """Raise SimulationError unless the rig can have this fault within its run."""
    if fault.kind not in machine.kinds:
        kinds = ", ".join(sorted(machine.kinds))
        raise SimulationError(f"{machine.name}: expected a fault of {kinds}, got {fault.kind}")
    names = [channel.name for channel in machine.channels]
    if fault.channel is not None and (fault.kind not in ON_A_SENSOR or fault.channel not in names):
        expected = f"{' or '.join(ON_A_SENSOR)} on one of {', '.join(names)}"
        raise SimulationError(
            f"{machine.name}: expected {expected}, got {fault.kind}:{fault.channel}"
        )
    if fault.start_s >= duration_s:
        raise SimulationError(
            f"{fault.kind}: expected a start before {duration_s} s, got {fault.start_s} s"
        )


def run(machine: Rig, *, conditions: Conditions, seed: int, start_us: int) -> Chunk:
    """Return the run's rows, rounded to the sensors' resolution, with the faults as flags."""
    values = sensed(
        machine.run(conditions, random=np.random.default_rng(seed)),
        faults=conditions.faults,
        default_channel=machine.default_channel,
        node=machine.node,
        t_s=conditions.t_s,
    )
    columns = [
        quantised(values[channel.name], resolution=resolution)
        for channel, resolution in zip(machine.channels, machine.resolution, strict=True)
    ]
    t_us = start_us + np.round(conditions.t_s * 1e6).astype(np.int64)
    flags: Flags = {
        (str(kind), None): conditions.grown(kind) > 0
        for kind in dict.fromkeys(fault.kind for fault in conditions.faults)
    }
    return Chunk(t_us, np.column_stack(columns), flags)


def quantised(column: NDArray[np.float64], *, resolution: float) -> NDArray[np.float64]:
    """Return the values in whole steps, as the shortest decimals that name them."""
    digits = round(-np.log10(resolution))
    return np.round(column, digits)
