"""What a simulated machine is, and the conditions that it runs under."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sensors.recording import Channel
from sensors.simulate.faults import Fault, FaultKind, severity

__all__ = ["Conditions", "Rig"]

Column = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """One simulated run's time grid and faults."""

    t_s: Column
    """[rows] seconds from the run's start, one period apart."""
    period_s: float
    faults: Sequence[Fault]

    def grown(self, kind: FaultKind) -> Column:
        """Return [rows] the severity of a kind of fault, 0 to 1."""
        return severity(kind, faults=self.faults, t_s=self.t_s)

    def drift(self, channel: str, *, default_channel: str) -> Column:
        """Return [rows] how far one channel's sensor has drifted, 0 to 1."""
        mine = [fault for fault in self.faults if (fault.channel or default_channel) == channel]
        return severity(FaultKind.DRIFT, faults=mine, t_s=self.t_s)


class Rig(Protocol):
    """A machine with coupled channels."""

    @property
    def name(self) -> str:
        """Name on the command line and in recordings."""

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The sensors, in order."""

    @property
    def resolution(self) -> tuple[float, ...]:
        """Smallest step of each sensor, in its unit."""

    @property
    def kinds(self) -> frozenset[FaultKind]:
        """Faults that this machine can have."""

    @property
    def default_channel(self) -> str:
        """The sensor that sticks or drifts when a fault names none."""

    @property
    def node(self) -> tuple[str, ...]:
        """Channels that share a transmitter and fall silent together in a gap."""

    def run(self, conditions: Conditions, *, random: np.random.Generator) -> dict[str, Column]:
        """Return channel -> [rows] what its sensor measures, before sticking and gaps."""
