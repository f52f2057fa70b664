"""Folders on a real disk and in memory: what a write costs depends on which of them it goes to."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.process import ROOT
from benchmarks.report import BenchmarkError

__all__ = ["MEMORY", "disk_folder", "is_in_memory", "memory_folder", "sync_ms"]

MEMORY = Path("/dev/shm")
SYNCS = 50
PAGE = b"\0" * 4096
IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})


def is_in_memory(folder: Path) -> bool:
    """Tell whether the file system of a folder is kept in memory, where syncing costs nothing."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    place = folder.resolve()
    mounted = next(path for path in (place, *place.parents) if path in mounts)
    return mounts[mounted] in IN_MEMORY


@contextlib.contextmanager
def disk_folder() -> Iterator[Path]:
    """Make a folder on a real disk for as long as the context lasts; raise BenchmarkError."""
    places = (Path(tempfile.gettempdir()), Path("/var/tmp"), ROOT)
    for place in places:
        if place.is_dir() and not is_in_memory(place):
            with tempfile.TemporaryDirectory(dir=place) as name:
                yield Path(name)
            return
    raise BenchmarkError(f"expected one of {places} on a disk; set TMPDIR to a folder on one")


@contextlib.contextmanager
def memory_folder() -> Iterator[Path]:
    """Make a folder in memory for as long as the context lasts; raise BenchmarkError."""
    if not (MEMORY.is_dir() and is_in_memory(MEMORY)):
        raise BenchmarkError(f"expected {MEMORY} to be in memory")
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        yield Path(name)


def sync_ms(folder: Path) -> float:
    """Return what it takes to append 4 KiB to a file in `folder` and sync it, median of 50."""
    times_s = []
    with tempfile.NamedTemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(SYNCS):
            began_s = time.monotonic()
            file.write(PAGE)
            os.fdatasync(file.fileno())
            times_s.append(time.monotonic() - began_s)
    return statistics.median(times_s) * 1000
