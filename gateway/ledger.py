"""Counters of what came in and what became of it; they add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Ledger"]

PLAIN = (
    "decoded", "quarantined", "received", "scored", "missing", "duplicate", "out_of_range",
    "backward", "skipped", "early", "dropped", "summarised", "stored"
)  # fmt: skip
REASONS = ("lost", "rejected")


@dataclass(slots=True)
class Ledger:
    """Counts since the store was made. received = scored + missing + duplicate + out_of_range."""

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
    early: int = 0
    """Readings of sources that keep them, come before one that is missing; they come again."""
    lost: Counter[str] = field(default_factory=Counter)
    """Messages reported as lost, by reason."""
    dropped: int = 0
    """Readings in summaries that were reported as lost."""
    summarised: int = 0
    """Readings in summaries that were made."""
    stored: int = 0
    """Readings in summaries that the cloud has confirmed."""
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

    def summary(self, *, pending: int) -> dict[str, int]:
        """The way of the readings after they were scored; `pending` wait for the cloud."""
        return {
            "scored": self.scored,
            "open": self.scored - self.summarised,
            "summarised": self.summarised,
            "stored": self.stored,
            "pending": pending,
            "dropped": self.dropped,
        }

    def counters(self) -> dict[str, int]:
        """Return every counter by name, those of reasons as `rejected:REASON`, `lost:REASON`."""
        plain = {name: getattr(self, name) for name in PLAIN}
        reasons = {
            f"{name}:{reason}": count
            for name in REASONS
            for reason, count in getattr(self, name).items()
        }
        return plain | reasons

    def restore(self, counters: Mapping[str, int]) -> None:
        """Undo `counters`."""
        for name in REASONS:
            getattr(self, name).clear()
        for key, count in counters.items():
            name, _, reason = key.partition(":")
            if reason and name in REASONS:
                getattr(self, name)[reason] = count
            elif name in PLAIN:
                setattr(self, name, count)

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
            "early": self.early,
        }
