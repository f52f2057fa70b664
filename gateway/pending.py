"""How much waits for the cloud, since when, and how long the disk lasts at the present rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.durable.commit import Removed
from gateway.durable.database import Database
from gateway.outbox import Entry

__all__ = ["Pending"]

SAMPLES = 60
SAMPLE_S = 5.0


@dataclass(slots=True)
class Pending:
    """Counters of the outbox; they equal what is in the database."""

    count: int = 0
    size_bytes: int = 0
    readings: int = 0
    confirmed: int = 0
    """Readings that the cloud has confirmed since this process began."""
    since_s: float | None = None
    """Wall clock at which the oldest was made, seconds."""
    sizes: deque[int] = field(default_factory=lambda: deque(maxlen=SAMPLES))

    @classmethod
    def of(cls, database: Database) -> Pending:
        """Count what waits in a database."""
        pending = cls()
        for _, _, _, count, size_bytes, readings in database.lanes():
            pending.count += count
            pending.size_bytes += size_bytes
            pending.readings += readings
        oldest_ms = database.oldest_ms()
        pending.since_s = None if oldest_ms is None else oldest_ms / 1000
        return pending

    def add(self, entries: Iterable[Entry]) -> None:
        """Count entries that were committed."""
        for entry in entries:
            self.count += 1
            self.size_bytes += len(entry.payload)
            self.readings += entry.readings

    def remove(self, removed: Removed) -> None:
        """Count what went: stored by the cloud, or reported as lost."""
        for weight in (removed.stored, removed.dropped):
            self.count -= weight.entries
            self.size_bytes -= weight.size_bytes
            self.readings -= weight.readings
        self.confirmed += removed.stored.readings
        self.since_s = None if removed.oldest_ms is None else removed.oldest_ms / 1000

    def age_s(self, now_s: float) -> float:
        """Return the age of the oldest, seconds; 0 when none waits or the clock was set back."""
        return 0.0 if self.since_s is None else round(max(now_s - self.since_s, 0.0), 1)

    def note_rate(self) -> None:
        """Note the size, every 5 seconds."""
        self.sizes.append(self.size_bytes)

    def room_h(self, free_bytes: int) -> float | None:
        """Return in how many hours `free_bytes` are used up; None while nothing grows."""
        if len(self.sizes) < 2:
            return None
        growth = (self.sizes[-1] - self.sizes[0]) / (SAMPLE_S * (len(self.sizes) - 1))
        return round(max(free_bytes, 0) / growth / 3600, 2) if growth > 0 else None
