"""Size-capped, typed encoding and decoding of JSON messages."""

from __future__ import annotations

import math
from typing import TypeVar

import msgspec

from wire.errors import MessageError
from wire.messages import MAX_EVENT_MS, READINGS_DECODER, ReadingMessage

__all__ = [
    "MAX_JSON_BYTES",
    "check_size",
    "check_time",
    "decode_json",
    "decode_readings",
    "encode_json",
    "rejection",
]

MAX_JSON_BYTES = 262_144
SHOWN_BYTES = 60
VERSION_FIELDS = ("`$.v`", "`$.type`", "`$.specversion`")

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="deterministic")


def encode_json(message: msgspec.Struct) -> bytes:
    """Encode one message; equal messages give equal bytes, as map keys are sorted.

    JSON has no NaN and no infinity: such a number becomes null, which only nullable fields accept.
    """
    return _encoder.encode(message)


def decode_json(payload: bytes, kind: type[T], *, max_bytes: int = MAX_JSON_BYTES) -> T:
    """Decode one message of `kind`; raise MessageError on size, syntax, type or version."""
    check_size(payload, max_bytes=max_bytes)
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rejection(error, payload, expected=kind.__name__) from None


def decode_readings(payload: bytes) -> list[ReadingMessage]:
    """Decode the payload of a readings topic; raise MessageError with a reason when it is none."""
    check_size(payload, max_bytes=MAX_JSON_BYTES)
    try:
        decoded = READINGS_DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise rejection(error, payload, expected="ReadingMessage or an array of them") from None
    messages = decoded if isinstance(decoded, list) else [decoded]
    for message in messages:
        check_time(message.t)
    return messages


def check_size(payload: bytes, *, max_bytes: int) -> None:
    """Raise MessageError unless the payload has 1 to `max_bytes` bytes."""
    if not payload:
        raise MessageError("empty", "expected a JSON payload, got 0 bytes")
    if len(payload) > max_bytes:
        raise MessageError("too_large", f"expected at most {max_bytes} bytes, got {len(payload)}")


def check_time(t_ms: float) -> None:
    """Raise MessageError unless `t_ms` lies between 1970 and 2200."""
    if not (math.isfinite(t_ms) and 0 <= t_ms <= MAX_EVENT_MS):
        raise MessageError("bad_time", f"expected 0 to {MAX_EVENT_MS:.0f} ms, got {t_ms!r}")


def rejection(error: Exception, payload: bytes, *, expected: str) -> MessageError:
    """Turn a msgspec, UTF-8 or recursion error into ours: its words and the payload's start."""
    start = repr(bytes(payload[:SHOWN_BYTES]))[1:]
    return MessageError(_reason(error), f"expected {expected}, got {start}: {error}")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "too_deep"
    if not isinstance(error, msgspec.ValidationError):
        return "not_json"
    return "wrong_version" if str(error).endswith(VERSION_FIELDS) else "wrong_type"
