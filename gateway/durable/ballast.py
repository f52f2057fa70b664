"""Disk space held back, so that a full disk can still be cleaned: deleting needs room to write."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Ballast"]

MARGIN = 2


@dataclass(frozen=True, slots=True)
class Ballast:
    """A file of `size_bytes` that is given up when the disk is full, and taken again later."""

    path: Path
    size_bytes: int

    def take(self) -> bool:
        """Hold the space where the disk has twice as much to spare; return whether it is held."""
        if self.path.exists() and self.path.stat().st_size == self.size_bytes:
            return True
        disk = os.statvfs(self.path.parent)
        if disk.f_bavail * disk.f_frsize < MARGIN * self.size_bytes:
            return False
        try:
            with self.path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self.size_bytes) if self.size_bytes else None
        except OSError:
            self.give_up()
            return False
        return True

    def give_up(self) -> None:
        """Give the space back to the file system."""
        self.path.unlink(missing_ok=True)
