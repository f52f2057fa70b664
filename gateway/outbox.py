"""What waits to be published: alerts first, then what is retained, then bulk; bounded in bytes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

__all__ = ["LANES", "LANE_OF", "Entry", "Kind", "LaneName", "Outbox"]

Kind: TypeAlias = Literal[
    "alerts", "gaps", "state", "status", "summaries", "excerpts", "confirm", "confirmed"
]
LaneName: TypeAlias = Literal["urgent", "bulk"]
LANES: tuple[LaneName, ...] = ("urgent", "bulk")
LANE_OF: Mapping[Kind, LaneName] = MappingProxyType(
    {"alerts": "urgent", "gaps": "urgent", "summaries": "bulk", "excerpts": "bulk"}
)
"""The lane of each kind that is kept until the cloud confirms it."""
OVERHEAD_BYTES = 200


@dataclass(frozen=True, slots=True)
class Entry:
    """One message to publish at QoS 1."""

    kind: Kind
    topic: str
    payload: bytes
    retain: bool = False
    epoch: str = ""
    """Epoch of its lane; empty = not kept until it is confirmed."""
    seq: int = 0
    """Sequence number in its lane."""
    readings: int = 0
    """Readings that its summaries count."""

    @property
    def size_bytes(self) -> int:
        """Memory it takes, roughly."""
        return len(self.payload) + len(self.topic) + OVERHEAD_BYTES


@dataclass(slots=True)
class Outbox:
    """Queue of one broker. When full, the oldest bulk entry is dropped and counted, alerts last.

    Of a retained topic only the newest message waits: the others would be overwritten at once.
    """

    limit_bytes: int
    alerts: deque[Entry] = field(default_factory=deque)
    retained: dict[str, Entry] = field(default_factory=dict)
    """By topic."""
    bulk: deque[Entry] = field(default_factory=deque)
    size_bytes: int = 0
    dropped: int = 0
    sent_bytes: Counter[str] = field(default_factory=Counter)
    """Payload bytes published, by kind."""

    def append(self, entry: Entry) -> None:
        """Queue an entry, making room if need be."""
        self.size_bytes += entry.size_bytes
        if entry.retain:
            older = self.retained.pop(entry.topic, None)
            self.size_bytes -= older.size_bytes if older else 0
            self.retained[entry.topic] = entry
        else:
            (self.alerts if entry.kind == "alerts" else self.bulk).append(entry)
        while self.size_bytes > self.limit_bytes and self.pending > 1:
            self._drop()

    def take(self) -> Entry | None:
        """Remove and return the next entry; None when there is none."""
        if self.alerts:
            entry = self.alerts.popleft()
        elif self.retained:
            entry = self.retained.pop(next(iter(self.retained)))
        elif self.bulk:
            entry = self.bulk.popleft()
        else:
            return None
        self.size_bytes -= entry.size_bytes
        return entry

    def published(self, entry: Entry) -> None:
        """Count an entry that the broker has acknowledged."""
        self.sent_bytes[entry.kind] += len(entry.payload)

    @property
    def pending(self) -> int:
        """Entries waiting."""
        return len(self.alerts) + len(self.retained) + len(self.bulk)

    def _drop(self) -> None:
        if self.bulk:
            oldest = self.bulk.popleft()
        elif self.retained:
            oldest = self.retained.pop(next(iter(self.retained)))
        else:
            oldest = self.alerts.popleft()
        self.size_bytes -= oldest.size_bytes
        self.dropped += 1
