"""What waits to be published: alerts first, then the rest in order; bounded in bytes."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Entry", "Kind", "Outbox"]

Kind: TypeAlias = Literal["alerts", "state", "status", "summaries", "excerpts"]
OVERHEAD_BYTES = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to publish at QoS 1."""

    kind: Kind
    topic: str
    payload: bytes
    retain: bool = False

    @property
    def size_bytes(self) -> int:
        """Memory it takes, roughly."""
        return len(self.payload) + len(self.topic) + OVERHEAD_BYTES


@dataclass(slots=True)
class Outbox:
    """Queue of one broker. When full, the oldest bulk entry is dropped and counted, alerts last."""

    limit_bytes: int
    urgent: deque[Entry] = field(default_factory=deque)
    bulk: deque[Entry] = field(default_factory=deque)
    size_bytes: int = 0
    dropped: int = 0
    sent_bytes: Counter[str] = field(default_factory=Counter)
    """Payload bytes published, by kind."""

    def append(self, entry: Entry) -> None:
        """Queue an entry, making room if need be."""
        lane = self.bulk if entry.kind in {"summaries", "excerpts"} else self.urgent
        lane.append(entry)
        self.size_bytes += entry.size_bytes
        while self.size_bytes > self.limit_bytes and len(self.urgent) + len(self.bulk) > 1:
            oldest = (self.bulk or self.urgent).popleft()
            self.size_bytes -= oldest.size_bytes
            self.dropped += 1

    def take(self) -> Entry | None:
        """Remove and return the next entry; None when there is none."""
        lane = self.urgent or self.bulk
        if not lane:
            return None
        entry = lane.popleft()
        self.size_bytes -= entry.size_bytes
        return entry

    def published(self, entry: Entry) -> None:
        """Count an entry that the broker has acknowledged."""
        self.sent_bytes[entry.kind] += len(entry.payload)

    @property
    def pending(self) -> int:
        """Entries waiting."""
        return len(self.urgent) + len(self.bulk)
