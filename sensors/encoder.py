"""Readings messages: rows of one source to payloads, numbered without holes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from sensors.recording import Row
from wire.messages import ReadingMessage

__all__ = ["SourceEncoder"]

ENCODER = msgspec.json.Encoder()


class SourceEncoder:
    """Numbers and encodes the rows of one source; NaN and infinities become null.

    `epoch` names this numbering; `rows_per_message` rows share a payload (a JSON array when > 1).
    """

    def __init__(self, channels: Sequence[str], *, epoch: str, rows_per_message: int = 1) -> None:
        self.channels = channels
        self.epoch = epoch
        self.rows_per_message = rows_per_message
        self.seq = 0
        self.readings = 0
        self._waiting: list[ReadingMessage] = []

    def encode(self, row: Row) -> bytes | None:
        """Take the next row; return a payload when one is full."""
        self.seq += 1
        self.readings += sum(map(math.isfinite, row.values))
        values: dict[str, float | None] = dict(zip(self.channels, row.values, strict=True))
        message = ReadingMessage((self.epoch, self.seq), milliseconds(row.t_us), values)
        if self.rows_per_message == 1:
            return ENCODER.encode(message)
        self._waiting.append(message)
        return self.flush() if len(self._waiting) == self.rows_per_message else None

    def flush(self) -> bytes | None:
        """Return a payload of the rows taken since the last one, None without any."""
        if not self._waiting:
            return None
        payload = ENCODER.encode(self._waiting)
        self._waiting.clear()
        return payload


def milliseconds(t_us: int) -> float:
    """Return milliseconds, whole ones as an integer; exact to the microsecond until 2255."""
    whole, rest = divmod(t_us, 1000)
    return t_us / 1000 if rest else whole
