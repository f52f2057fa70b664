"""What a recovery takes from outside: the disk, the clock and chance."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.durable.database import Database

__all__ = ["CHECKED_BYTES", "REAL", "OpenDatabase", "Surroundings"]

CHECKED_BYTES = 64 * 1024 * 1024
"""Larger files are checked only after an error was seen: it takes seconds on a small device."""


class OpenDatabase(Protocol):
    """Opens a database file, or makes it under an epoch."""

    def __call__(self, path: Path, *, epoch: str) -> Database:
        """Return the open database; raise StorageError where it is damaged."""


def _random_epoch() -> str:
    return secrets.token_hex(4)


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The real ones unless others are given."""

    open_database: OpenDatabase = Database
    new_epoch: Callable[[], str] = _random_epoch
    now_ms: Callable[[], int] = _wall_clock_ms
    checked_bytes: int = CHECKED_BYTES
    """Files up to this size are checked whole at every start."""


REAL = Surroundings()
