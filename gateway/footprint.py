"""How much memory the process holds. Importing psutil for this one number would cost 1.5 MB."""

from __future__ import annotations

import os
import resource
from pathlib import Path

__all__ = ["resident_mb"]

STATM = Path("/proc/self/statm")
KIB = 1024


def resident_mb() -> float:
    """Resident memory now, megabytes (10^6 bytes); where there is no /proc, the highest so far."""
    try:
        pages = int(STATM.read_text("ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / 1e6
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
