"""One lane of the outbox on its way up: its cursor, and what of it is in memory. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from gateway.durable.cursor import Cursor
from gateway.outbox import Entry

__all__ = ["BULK_WINDOW", "STUCK_AFTER", "URGENT_WINDOW", "SendLane"]

URGENT_WINDOW = 32
"""Publications of an urgent lane on their way."""
BULK_WINDOW = 8
"""Publications of a bulk lane on their way: few, so that they keep no alert waiting."""
QUEUE_BYTES = 2_000_000
STUCK_AFTER = 10


@dataclass(slots=True)
class SendLane:
    """Entries behind `cursor.sent`, in order and without a hole, as far as they fit in memory."""

    cursor: Cursor
    queue: deque[Entry] = field(default_factory=deque)
    queued_bytes: int = 0
    flying: int = 0
    """Publications on their way."""
    lost: int = 0
    """Answers in a row that told of the same first message as lost."""
    version: int = 0
    """Grows whenever the queue no longer tells what is on the disk."""

    @property
    def is_stuck(self) -> bool:
        """Whether the cloud does not take the next message, however often it is sent."""
        return self.lost >= STUCK_AFTER

    def may_send(self, *, cloud_known: bool) -> bool:
        """Whether the next entry may go; bulk waits for the first answer where there is a cloud."""
        cursor = self.cursor
        window = URGENT_WINDOW if cursor.is_urgent else BULK_WINDOW
        if not cursor.unsent or self.flying >= window:
            return False
        return cursor.is_urgent or cursor.answered or not cloud_known

    def offer(self, entry: Entry) -> None:
        """Note an entry that is on the disk now; keep it in memory where it is the next one."""
        cursor = self.cursor
        upto = self.queue[-1].seq if self.queue else cursor.sent
        if entry.seq == upto + 1 and self.queued_bytes < QUEUE_BYTES:
            self.put(entry)
        cursor.last = max(cursor.last, entry.seq)

    def put(self, entry: Entry) -> None:
        """Queue the next entry."""
        self.queue.append(entry)
        self.queued_bytes += entry.size_bytes

    def take(self) -> Entry:
        """Remove the next entry: it is sent now."""
        entry = self._pop()
        self.cursor.sent = max(self.cursor.sent, entry.seq)
        self.flying += 1
        return entry

    def forget_confirmed(self) -> None:
        """Drop from memory what the cloud has."""
        while self.queue and self.queue[0].seq <= self.cursor.confirmed:
            self._pop()

    def clear(self) -> None:
        """Forget what is in memory: it is to be loaded again."""
        self.queue.clear()
        self.queued_bytes = 0
        self.version += 1

    def _pop(self) -> Entry:
        entry = self.queue.popleft()
        self.queued_bytes -= entry.size_bytes
        return entry
