"""What will never come, in the words of a gap record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from gateway.decode.sources import Lost
from wire.messages import GapMessage

__all__ = ["MOST_RANGE", "Gap", "GapReason", "gap_of_hole", "gap_of_source"]

GapReason: TypeAlias = Literal["cap", "merged", "corrupt", "source", "unmarked", "too_large"]
MOST_RANGE = 4096
"""Messages of our own that one record tells of, with the readings of each."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages first..last of one epoch that are lost; `readings` of each, where known."""

    reason: GapReason
    lost_epoch: str
    first: int
    last: int
    source: str = ""
    kind: str = ""
    readings: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """Readings in summaries that nobody will count any more."""
        return sum(self.readings)

    def message(self, gateway: str, *, epoch: str, seq: int) -> GapMessage:
        """Return the record under its own number."""
        return GapMessage(
            gateway=gateway,
            epoch=epoch,
            seq=seq,
            reason=self.reason,
            source=self.source,
            lost_epoch=self.lost_epoch,
            first=self.first,
            last=self.last,
            readings=self.readings,
            kind=self.kind,
        )


def gap_of_hole(lost: Lost) -> Gap:
    """Return the gap of readings whose row of the journal is damaged."""
    return Gap("corrupt", lost.epoch, lost.first, lost.last, source=lost.source)


def gap_of_source(lost: Lost) -> Gap:
    """Return the gap of readings that their source no longer holds.

    Where this gateway has no mark of the source, it cannot tell which of them it once had.
    """
    reason: GapReason = "source" if lost.marked else "unmarked"
    return Gap(reason, lost.epoch, lost.first, lost.last, source=lost.source)
