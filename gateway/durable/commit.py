"""What one transaction holds, and what it took out of the outbox."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.durable.edgestate import EdgeState, JournalDraft
from gateway.outbox import Entry

__all__ = ["Commit", "Removed", "Weight"]


class Weight(NamedTuple):
    """What entries of the outbox come to."""

    entries: int = 0
    size_bytes: int = 0
    readings: int = 0

    @classmethod
    def total(cls, parts: Iterable[Weight]) -> Weight:
        """Add weights up."""
        return cls(*map(sum, zip(*parts, cls(), strict=True)))


NOTHING = Weight()


@dataclass(frozen=True, slots=True)
class Removed:
    """What a commit took out of the outbox."""

    stored: Weight = NOTHING
    """What the cloud has."""
    dropped: Weight = NOTHING
    """What gap records account for, less what others took over from it."""
    oldest_ms: int | None = None
    """When the oldest entry that is left was made; None where none is."""


@dataclass(slots=True)
class Commit:
    """What one transaction holds."""

    draft: JournalDraft | None = None
    entries: list[Entry] = field(default_factory=list)
    """Entries to keep until they are confirmed."""
    confirmed: dict[str, int] = field(default_factory=dict)
    """Epoch of a lane to the seq up to which the cloud has stored it."""
    dropped: list[tuple[str, int]] = field(default_factory=list)
    """(epoch, seq) of entries that a gap record of this commit accounts for."""
    replaced: list[Entry] = field(default_factory=list)
    """Entries whose payload takes the place of the one stored under their number."""
    state: EdgeState | None = None
    """Snapshot after the draft."""
    meta: dict[str, str] = field(default_factory=dict)
    """Notes to keep."""

    @property
    def altered(self) -> list[tuple[str, int]]:
        """(epoch, seq) of entries that are no longer as a step made them."""
        return self.dropped + [(entry.epoch, entry.seq) for entry in self.replaced]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        events = self.draft is not None and not self.draft.is_empty
        changes = self.entries or self.confirmed or self.dropped or self.replaced
        return not (events or changes or self.state or self.meta)
