"""Every kind of fault by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from tests.storage.cap import run_outages
from tests.storage.clock import run_clocks
from tests.storage.corrupt import run_damages
from tests.storage.full import run_full_disks
from tests.storage.lostsync import run_lost_syncs
from tests.storage.outcome import Outcome
from tests.storage.powercut import run_power_cuts

__all__ = ["FAULTS"]

FAULTS: Mapping[str, Callable[[Path, int, int], Outcome]] = MappingProxyType(
    {
        "powercut": run_power_cuts,
        "cap": run_outages,
        "clock": run_clocks,
        "corrupt": run_damages,
        "full": run_full_disks,
        "lostsync": run_lost_syncs,
    }
)
"""(folder, count, seed) -> outcome."""
