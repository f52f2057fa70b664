"""Generic JSON: values by path, asset and channel from the topic, time where the rule says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.batch import Draft
from gateway.decode.rules import SourceRule, TimeRule
from gateway.directory import Directory
from wire.codec import MAX_JSON_BYTES, check_size, check_time, rejection
from wire.errors import MessageError

__all__ = ["JsonRoute"]

MAX_DEPTH = 16
MAX_VALUES = 1024
TO_MS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
MISSING = object()

_decoder = msgspec.json.Decoder()


@dataclass(slots=True)
class JsonRoute:
    """Decodes one topic by one rule."""

    rule: SourceRule
    asset: int
    channel: str
    """Channel that the topic names, or empty."""
    directory: Directory
    units: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.units = {rule.channel or self._named(rule.path): rule.unit for rule in self.rule.field}

    def decode(self, payload: bytes, arrival_ms: float, draft: Draft) -> None:
        """Append the payload's readings to `draft`; raise MessageError when it holds none."""
        check_size(payload, max_bytes=MAX_JSON_BYTES)
        try:
            document = _decoder.decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise rejection(error, payload, expected="JSON") from None
        time_ms = arrival_ms if self.rule.time is None else _time_ms(document, self.rule.time)
        readings = self._readings(document)
        if not readings:
            raise MessageError("no_value", f"expected a number, got {_shown(document)}")
        self.directory.introduce(self.asset, readings, units=self.units)
        streams = self.directory.streams(self.asset)
        draft.asset.append(self.asset)
        draft.time_ms.append(time_ms)
        draft.width.append(len(readings))
        draft.seq.append(0)
        draft.stream += [streams[name] for name in readings]
        draft.value += readings.values()

    def _readings(self, document: Any) -> dict[str, float]:
        """Collect value by channel; raise MessageError where two values have the same name."""
        readings: dict[str, float] = {}
        for name, value in self._by_field(document) if self.rule.field else self._all(document):
            if name in readings:
                raise MessageError("ambiguous", f"expected one value of {name[:120]!r}, got two")
            readings[name] = value
        return readings

    def _by_field(self, document: Any) -> Iterator[tuple[str, float]]:
        for rule in self.rule.field:
            found = _at(document, rule.path)
            if found is not MISSING:
                value = _number(found, rule.path) * rule.scale + rule.offset
                yield rule.channel or self._named(rule.path), value

    def _all(self, document: Any) -> Iterator[tuple[str, float]]:
        for count, (path, value) in enumerate(_numbers(document, "", 0)):
            if count >= MAX_VALUES:
                raise MessageError("too_many", f"expected at most {MAX_VALUES} values, got more")
            yield self._named(path), value

    def _named(self, path: str) -> str:
        return ".".join(part for part in (self.channel, path) if part) or "value"


def _numbers(document: Any, path: str, depth: int) -> Iterator[tuple[str, float]]:
    """Every number below `document` with its dotted path; text and nulls are passed over."""
    if depth > MAX_DEPTH:
        raise MessageError("too_deep", f"expected at most {MAX_DEPTH} levels, got more at {path}")
    match document:
        case bool():
            yield path, float(document)
        case int() | float():
            yield path, _number(document, path)
        case dict():
            for key, value in document.items():
                yield from _numbers(value, f"{path}.{key}" if path else str(key), depth + 1)
        case list():
            for index, value in enumerate(document):
                yield from _numbers(value, f"{path}.{index}" if path else str(index), depth + 1)
        case _:
            return


def _number(value: Any, path: str) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, bool | int | float):
        raise MessageError("wrong_type", f"{path}: expected a number, got {_shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise MessageError("wrong_type", f"{path}: expected a number below 1e308") from None


def _at(document: Any, path: str) -> Any:
    """Follow a dotted path; an empty one means the document itself."""
    if not path:
        return document
    for part in path.split("."):
        if isinstance(document, dict):
            document = document.get(part, MISSING)
        elif isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        else:
            return MISSING
    return document


def _time_ms(document: Any, rule: TimeRule) -> float:
    value = _at(document, rule.path)
    if isinstance(value, bool):
        raise MessageError("bad_time", f"{rule.path}: expected time in {rule.unit}, got {value}")
    try:
        if rule.unit == "iso":
            moment = datetime.fromisoformat(value)
            time_ms = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
        else:
            time_ms = float(value) * TO_MS[rule.unit]
    except (TypeError, ValueError, OverflowError):
        wanted = f"{rule.path}: expected time in {rule.unit}"
        raise MessageError("bad_time", f"{wanted}, got {_shown(value)}") from None
    check_time(time_ms)
    return time_ms


def _shown(value: Any) -> str:
    match value:
        case dict():
            return f"an object with {', '.join(map(repr, list(value)[:4]))[:80] or 'nothing'}"
        case list():
            return f"an array of {len(value)}"
        case _:
            return "nothing" if value is MISSING else repr(value)[:80]
