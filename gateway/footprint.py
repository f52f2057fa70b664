"""How much memory the process holds, and that it gives back what it no longer needs.

Importing psutil for the one number would cost 1.5 MB.
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path

__all__ = ["give_back_early", "resident_mb"]

STATM = Path("/proc/self/statm")
KIB = 1024
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h of glibc


def resident_mb() -> float:
    """Resident memory now, megabytes (10^6 bytes); where there is no /proc, the highest so far."""
    try:
        pages = int(STATM.read_text("ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB / 1e6
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def give_back_early() -> bool:
    """Have glibc return freed blocks from 32 KiB on to the system; return whether it will.

    By default it keeps more the larger the blocks it has seen (mallopt(3), M_MMAP_THRESHOLD).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((M_MMAP_THRESHOLD, 32), (M_TRIM_THRESHOLD, 64), (M_TOP_PAD, 64))
    return all(mallopt(option, size * KIB) == 1 for option, size in settings)
