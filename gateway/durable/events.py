"""What moves the pipeline, in order: the same events give the same state and the same effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from gateway.batch import Batch

__all__ = ["Event", "Flush", "Reserve", "Taken", "Tick"]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Frames were taken in."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed: finished summaries went up that did not fill a block."""


@dataclass(frozen=True, slots=True)
class Flush:
    """The input paused: a part of the open summaries was ended."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """So many numbers of the urgent lane were given to messages that no frame caused."""

    count: int


Event: TypeAlias = Taken | Tick | Flush | Reserve
