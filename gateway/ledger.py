"""Counters of what came in and what became of it; they add up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Ledger"]


@dataclass(slots=True)
class Ledger:
    """Counts since start. received = scored + missing + duplicate + out_of_range."""

    decoded: int = 0
    """Time stamps (messages, or objects of an array) that gave readings."""
    quarantined: int = 0
    received: int = 0
    """Readings (values, null included) that were decoded."""
    scored: int = 0
    missing: int = 0
    duplicate: int = 0
    """Readings that came again with an identity already taken in."""
    out_of_range: int = 0
    backward: int = 0
    """Time stamps before their asset's previous one; scored all the same."""
    skipped: int = 0
    """Sequence numbers of our own sensors that never came."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Quarantined messages and refused readings by reason."""
    last_rejection: str = ""

    @property
    def unaccounted(self) -> int:
        """Readings that were received but neither scored nor refused: 0 between two batches."""
        settled = self.scored + self.missing + self.duplicate + self.out_of_range
        return self.received - settled

    def reject(self, reason: str, detail: str, topic: str) -> None:
        """Count a message that could not be decoded."""
        self.quarantined += 1
        self.rejected[reason] += 1
        self.note(topic, reason, detail)

    def note(self, where: str, reason: str, detail: str) -> None:
        """Keep the newest fault in words; `where` is a topic, an asset or a stream."""
        self.last_rejection = f"{where[:120]}: {reason}: {detail[:200]}"

    def readings(self) -> dict[str, int]:
        """The readings' part, as the status message shows it."""
        return {
            "received": self.received,
            "scored": self.scored,
            "missing": self.missing,
            "duplicate": self.duplicate,
            "out_of_range": self.out_of_range,
            "backward": self.backward,
            "skipped": self.skipped,
        }
