"""Readings of our own sensors: `<root>/readings/<source>`."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from gateway.batch import Draft
from gateway.decode.sources import SourceMark, Verdict
from gateway.directory import Directory
from gateway.ledger import Ledger
from wire.codec import decode_readings
from wire.errors import MessageError
from wire.messages import ReadingMessage

__all__ = ["OwnRoute"]


@dataclass(slots=True)
class OwnRoute:
    """Decodes one source's topic; skips identities (epoch, seq) that were taken in already."""

    asset: int
    directory: Directory
    ledger: Ledger
    mark: SourceMark
    streams: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.streams = self.directory.streams(self.asset)

    def decode(self, payload: bytes, arrival_ms: float, draft: Draft) -> None:  # noqa: ARG002 - every route's signature
        """Append the payload's readings to `draft`; raise MessageError when it is no message."""
        mark = self.mark
        for message in decode_readings(payload):
            epoch, seq = message.id
            expected = mark.seq + 1 if epoch == mark.epoch else seq
            verdict = mark.judge(epoch, seq, kept=message.kept)
            if verdict is Verdict.NEW:
                self.ledger.skipped += seq - expected
                self._append(message, draft)
            else:
                self._decline(verdict, message, expected, draft)

    def _append(self, message: ReadingMessage, draft: Draft) -> None:
        values = message.values
        streams = self.streams
        if not streams.keys() >= values.keys():
            self._introduce(values)
        if not values:
            self.mark.touch()  # no frame will tell the journal of this number
            return
        draft.asset.append(self.asset)
        draft.time_ms.append(message.t)
        draft.width.append(len(values))
        draft.seq.append(message.id[1])
        for channel, value in values.items():
            draft.stream.append(streams[channel])
            draft.value.append(math.nan if value is None else value)

    def _introduce(self, channels: Collection[str]) -> None:
        try:
            self.directory.introduce(self.asset, channels)
        except MessageError:
            self.mark.touch()  # it counts as taken in, although no frame will tell
            raise

    def _decline(
        self, verdict: Verdict, message: ReadingMessage, expected: int, draft: Draft
    ) -> None:
        epoch, seq = message.id
        match verdict:
            case Verdict.DUPLICATE:
                self.ledger.duplicate += len(message.values)
                self.ledger.received += len(message.values)
            case Verdict.EARLY:
                self.ledger.early += len(message.values)
            case _:
                self.ledger.note(epoch, "seq_jump", f"expected about {expected}, got {seq}")
                self._append(message, draft)
