"""Readings of our own sensors: `<root>/readings/<source>`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from gateway.batch import Draft
from gateway.directory import Directory
from gateway.ledger import Ledger
from wire.codec import decode_readings
from wire.messages import ReadingMessage

__all__ = ["OwnRoute"]

REACH = 65_535
"""Most messages that MQTT has under way: what is further off is neither repeated nor lost."""


@dataclass(slots=True)
class OwnRoute:
    """Decodes one source's topic; skips identities (epoch, seq) that were taken in already."""

    asset: int
    directory: Directory
    ledger: Ledger
    epoch: str = ""
    seq: int = 0
    streams: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.streams = self.directory.streams(self.asset)

    def decode(self, payload: bytes, arrival_ms: float, draft: Draft) -> None:  # noqa: ARG002 - every route's signature
        """Append the payload's readings to `draft`; raise MessageError when it is no message."""
        for message in decode_readings(payload):
            if self._is_new(message):
                self._append(message, draft)

    def _append(self, message: ReadingMessage, draft: Draft) -> None:
        values = message.values
        if not values:
            return
        streams = self.streams
        if not streams.keys() >= values.keys():
            self.directory.introduce(self.asset, values)
        draft.asset.append(self.asset)
        draft.time_ms.append(message.t)
        draft.width.append(len(values))
        for channel, value in values.items():
            draft.stream.append(streams[channel])
            draft.value.append(math.nan if value is None else value)

    def _is_new(self, message: ReadingMessage) -> bool:
        epoch, seq = message.id
        if epoch != self.epoch:
            self.epoch, self.seq = epoch, seq
            return True
        if not -REACH < seq - self.seq <= REACH:
            self.ledger.note(epoch, "seq_jump", f"expected about {self.seq + 1}, got {seq}")
            self.seq = seq
            return True
        if seq <= self.seq:
            self.ledger.duplicate += len(message.values)
            self.ledger.received += len(message.values)
            return False
        self.ledger.skipped += seq - self.seq - 1
        self.seq = seq
        return True
