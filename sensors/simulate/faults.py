"""Labelled faults: when each acts, how strongly, and what it does to the sensors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from sensors.errors import SimulationError

__all__ = ["Fault", "FaultKind", "parse_duration_s", "parse_fault", "sensed", "severity"]

Column = NDArray[np.float64]

SPEC = re.compile(r"(?P<kind>\w+)(:(?P<channel>\w+))?@(?P<start>[\w.]+)(\+(?P<lasting>[\w.]+))?")
DURATION = re.compile(
    r"(?:(?P<d>[\d.]+)d)?(?:(?P<h>[\d.]+)h)?(?:(?P<m>[\d.]+)m)?(?:(?P<s>[\d.]+)s)?"
)
SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}


class FaultKind(StrEnum):
    """What can go wrong."""

    BEARING_WEAR = "bearing_wear"
    CAVITATION = "cavitation"
    LEAK = "leak"
    STUCK_SENSOR = "stuck_sensor"
    DRIFT = "drift"
    GAP = "gap"
    SPIKE = "spike"


ENDLESS_S = float("inf")
LASTING_S = {
    FaultKind.BEARING_WEAR: ENDLESS_S,
    FaultKind.CAVITATION: 600.0,
    FaultKind.LEAK: ENDLESS_S,
    FaultKind.STUCK_SENSOR: 900.0,
    FaultKind.DRIFT: ENDLESS_S,
    FaultKind.GAP: 180.0,
    FaultKind.SPIKE: 5.0,
}
RAMP_S = {
    FaultKind.BEARING_WEAR: 1_800.0,
    FaultKind.CAVITATION: 60.0,
    FaultKind.LEAK: 120.0,
    FaultKind.DRIFT: 3_600.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One fault of a simulated run."""

    kind: FaultKind
    start_s: float
    """Seconds from the run's start."""
    lasting_s: float
    """Seconds until it is repaired; infinite = to the end of the run."""
    channel: str | None = None
    """The sensor of a stuck sensor or a drift; None = the rig's default one."""

    @property
    def end_s(self) -> float:
        """Seconds from the run's start to the repair."""
        return self.start_s + self.lasting_s


def parse_fault(text: str) -> Fault:
    """Read `kind[:channel]@start[+lasting]`, such as `leak@1h30m` or `drift:flow@20m+1h`.

    Raises SimulationError saying what was expected.
    """
    match = SPEC.fullmatch(text)
    if match is None or match["kind"] not in set(FaultKind):
        expected = f"KIND[:CHANNEL]@START[+LASTING] with KIND one of {', '.join(FaultKind)}"
        raise SimulationError(f"fault: expected {expected}, got {text!r}")
    kind = FaultKind(match["kind"])
    lasting_s = parse_duration_s(match["lasting"]) if match["lasting"] else LASTING_S[kind]
    return Fault(
        kind=kind,
        start_s=parse_duration_s(match["start"]),
        lasting_s=lasting_s,
        channel=match["channel"],
    )


def parse_duration_s(text: str) -> float:
    """Read `1h30m`, `90s`, `2d` as seconds; raise SimulationError."""
    match = DURATION.fullmatch(text)
    try:
        if match is None or not text:
            raise ValueError(text)  # noqa: TRY301  # one message for both ways to be wrong
        return sum(float(n) * SECONDS[unit] for unit, n in match.groupdict().items() if n)
    except ValueError:
        raise SimulationError(
            f"duration: expected such as 1h30m, 90s or 2d, got {text!r}"
        ) from None


def severity(kind: FaultKind, *, faults: Sequence[Fault], t_s: Column) -> Column:
    """Return [rows] how far the faults of this kind have grown, 0 (none) to 1 (full)."""
    grown = np.zeros(len(t_s))
    for fault in faults:
        if fault.kind is kind:
            np.maximum(grown, growth(fault, t_s=t_s), out=grown)
    return grown


def growth(fault: Fault, *, t_s: Column) -> Column:
    """Return [rows] one fault's severity: a ramp from its start, nothing after its repair."""
    active = (t_s >= fault.start_s) & (t_s < fault.end_s)
    ramp_s = RAMP_S.get(fault.kind, 0.0)
    if ramp_s == 0.0:
        return active.astype(np.float64)
    return np.where(active, np.clip(0.2 + 0.8 * (t_s - fault.start_s) / ramp_s, 0.0, 1.0), 0.0)


def sensed(
    values: Mapping[str, Column],
    *,
    faults: Sequence[Fault],
    default_channel: str,
    node: Sequence[str],
    t_s: Column,
) -> dict[str, Column]:
    """Return what arrives: a stuck sensor repeats its last value, a gap silences a whole node.

    `node` names the channels that share one transmitter.
    """
    arriving = {name: column.copy() for name, column in values.items()}
    for fault in faults:
        active = (t_s >= fault.start_s) & (t_s < fault.end_s)
        if fault.kind is FaultKind.STUCK_SENSOR and active.any():
            column = arriving[fault.channel or default_channel]
            column[active] = column[np.flatnonzero(active)[0]]
        elif fault.kind is FaultKind.GAP:
            for name in node:
                arriving[name][active] = np.nan
    return arriving
