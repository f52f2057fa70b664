"""Readings messages: rows of one source to payloads, numbered without holes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from sensors.errors import UnkeepableRowError
from sensors.recording import Row
from wire.codec import decode_readings
from wire.errors import MessageError
from wire.messages import ReadingMessage

__all__ = ["SourceEncoder", "kept_body", "kept_payload"]

ENCODER = msgspec.json.Encoder()
LONGEST_EPOCH = "e" * 64
LARGEST_SEQ = 2**63 - 1


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


class Body(msgspec.Struct, frozen=True, gc=False):
    """A kept ReadingMessage but for its id, which it gets when it is sent."""

    t: float
    values: dict[str, float | None]
    kept: bool = True


def kept_body(channels: Sequence[str], row: Row) -> bytes:
    """Encode a row for a source that keeps it; `kept_payload` numbers it.

    Raises UnkeepableRowError for one that no receiver takes, as it would be sent for ever.
    """
    values: dict[str, float | None] = dict(zip(channels, row.values, strict=True))
    body = ENCODER.encode(Body(milliseconds(row.t_us), values))
    try:
        decode_readings(numbered(body, epoch=LONGEST_EPOCH, seq=LARGEST_SEQ))
    except MessageError as error:
        raise UnkeepableRowError(
            f"row at {row.t_us} us: {error}; leave it out, or publish with --no-durable"
        ) from error
    return body


def kept_payload(bodies: Sequence[bytes], *, epoch: str, first: int) -> bytes:
    """Return the payload of bodies with consecutive numbers from `first`: an array when several."""
    messages = [numbered(body, epoch=epoch, seq=first + n) for n, body in enumerate(bodies)]
    return messages[0] if len(messages) == 1 else b"[%b]" % b",".join(messages)


def numbered(body: bytes, *, epoch: str, seq: int) -> bytes:
    """Return the body with its id."""
    return b'{"id":["%b",%d],%b' % (epoch.encode(), seq, body[1:])


def milliseconds(t_us: int) -> float:
    """Return milliseconds, whole ones as an integer; exact to the microsecond until 2255."""
    whole, rest = divmod(t_us, 1000)
    return t_us / 1000 if rest else whole
