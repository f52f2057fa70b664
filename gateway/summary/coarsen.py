"""Fewer, longer summaries of the same readings: what a full disk gives up before it loses any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.summary.knots import MAX_KNOTS, ROUNDING, SPAN_SHARE, reconstruct, swing
from gateway.summary.summarise import LARGEST, LEVELS
from wire.blocks import ROW_DTYPES, SKETCH_POINTS, SummaryBlock, SummaryColumns, concatenate
from wire.errors import MessageError
from wire.sketch import MOST_POINTS, QuantileSketch

__all__ = ["coarsen", "readings_of"]

AT_ONCE = MOST_POINTS // SKETCH_POINTS
"""Summaries whose points a sketch holds without a choice among them."""
MOST_NAMES = 65_536
MOST_READINGS = int(np.iinfo(np.uint32).max)
LONGEST_US = 2**53
"""Float64 still counts every microsecond of so long a summary."""


def coarsen(blocks: Sequence[SummaryBlock]) -> SummaryBlock:
    """Merge one gateway's blocks, in order, into one that stands for the same readings.

    All summaries of a stream (names of asset and channel) become one. Another begins only where a
    summary starts before its forerunner ended, where `count` or `missing` would pass uint32, or
    beyond 2^53 us. They lie in the order of their first parts; a summary that stays alone stays
    as it was. Epoch and seq are the last block's.

    Needs one block or more whose summaries hold finite numbers, a reading and a knot each. Raises
    MessageError when the names are too many for a block; of a result too large, `encode_summaries`
    raises it, and the caller merges fewer blocks.
    """
    rows, assets, channels = _joined(blocks)
    group = _groups(rows)
    ordered = _ordered(rows, group)
    first = np.flatnonzero(np.diff(np.sort(group), prepend=-1))
    merged = SummaryColumns(**_numbers(ordered, first), **_shapes(ordered, first))
    return replace(blocks[-1], assets=assets, channels=channels, rows=merged)


def readings_of(block: SummaryBlock) -> int:
    """Return how many readings the block's summaries stand for."""
    return int(block.rows.count.sum(dtype=np.int64))


def _joined(
    blocks: Sequence[SummaryBlock],
) -> tuple[SummaryColumns, tuple[str, ...], tuple[str, ...]]:
    """Return all rows, numbered by common names, and those names of assets and channels."""
    assets: dict[str, int] = {}
    channels: dict[str, int] = {}
    parts = [
        replace(
            block.rows,
            asset=_numbered(block.assets, assets)[block.rows.asset],
            channel=_numbered(block.channels, channels)[block.rows.channel],
        )
        for block in blocks
    ]
    return concatenate(parts), tuple(assets), tuple(channels)


def _numbered(names: tuple[str, ...], known: dict[str, int]) -> NDArray[np.uint16]:
    """Return the number of each name in `known`, to which new names are added."""
    numbers = [known.setdefault(name, len(known)) for name in names]
    if len(known) > MOST_NAMES:
        raise MessageError("too_large", f"expected at most {MOST_NAMES} names, got {len(known)}")
    return np.array(numbers, np.uint16)


@dataclass(slots=True)
class _Open:
    """The coarse summary that a stream's next summary may join."""

    group: int
    start_us: int
    end_us: int
    count: int = 0
    missing: int = 0

    def takes(self, start_us: int, end_us: int, count: int, missing: int) -> bool:
        """Say whether the format can state both as one."""
        return (
            start_us >= self.end_us
            and end_us - self.start_us <= LONGEST_US
            and self.count + count <= MOST_READINGS
            and self.missing + missing <= MOST_READINGS
        )

    def add(self, end_us: int, count: int, missing: int) -> None:
        self.end_us = end_us
        self.count += count
        self.missing += missing


def _groups(rows: SummaryColumns) -> NDArray[np.int64]:
    """Return the number of the coarse summary that each row goes into, from 0 in order."""
    streams: dict[tuple[int, int], _Open] = {}
    groups: list[int] = []
    made = 0
    names = zip(rows.asset.tolist(), rows.channel.tolist(), strict=True)
    sizes = (rows.start_us, rows.end_us, rows.count, rows.missing)
    facts = zip(*(column.tolist() for column in sizes), strict=True)
    for stream, (start_us, end_us, count, missing) in zip(names, facts, strict=True):
        into = streams.get(stream)
        if into is None or not into.takes(start_us, end_us, count, missing):
            into = streams[stream] = _Open(made, start_us, end_us)
            made += 1
        into.add(end_us, count, missing)
        groups.append(into.group)
    return np.array(groups, np.int64)


def _ordered(rows: SummaryColumns, group: NDArray[np.int64]) -> SummaryColumns:
    """Return the rows by group; within a group they keep their order."""
    order = np.argsort(group, kind="stable")
    flat = np.argsort(np.repeat(group, rows.knots), kind="stable")
    columns = {name: getattr(rows, name)[order] for name in ROW_DTYPES}
    return SummaryColumns(
        **columns,
        knot_us=rows.knot_us[flat],
        knot_value=rows.knot_value[flat],
        sketch=rows.sketch[order],
    )


def _numbers(rows: SummaryColumns, first: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the plain columns of each group; `first` are the rows at which groups begin."""
    last = np.append(first[1:], rows.count.size)[: first.size] - 1
    mean, variance = _moments(rows, first)
    return {
        "asset": rows.asset[first],
        "channel": rows.channel[first],
        "start_us": rows.start_us[first],
        "end_us": rows.end_us[last],
        "count": np.add.reduceat(rows.count, first, dtype=np.int64).astype(np.uint32),
        "missing": np.add.reduceat(rows.missing, first, dtype=np.int64).astype(np.uint32),
        "mean": mean,
        "variance": variance,
        "low": np.minimum.reduceat(rows.low, first),
        "high": np.maximum.reduceat(rows.high, first),
        "first": rows.first[first],
        "last": rows.last[last],
    }


def _moments(
    rows: SummaryColumns, first: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and population variance of each group, in float64 until the end.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", Stanford 1979; about the first part's mean, so that nothing cancels.
    """
    size = np.diff(first, append=rows.count.size)
    weight = rows.count.astype(np.float64)
    total = np.add.reduceat(weight, first)
    origin = rows.mean[first].astype(np.float64)
    shift = rows.mean - np.repeat(origin, size)
    centre = np.add.reduceat(weight * shift, first) / total
    within = rows.variance + (shift - np.repeat(centre, size)) ** 2
    variance = np.add.reduceat(weight * within, first) / total
    return (origin + centre).astype(np.float32), np.minimum(variance, LARGEST).astype(np.float32)


class _Shape(NamedTuple):
    """What one summary says beyond plain numbers, as in `SummaryColumns`."""

    error: np.float32
    knot_us: NDArray[np.int64]
    knot_value: NDArray[np.float32]
    sketch: NDArray[np.uint8]


def _shapes(rows: SummaryColumns, first: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Return the columns of knots and sketches, by group."""
    knot = np.append(0, np.cumsum(rows.knots, dtype=np.int64))
    ends = np.append(first[1:], rows.count.size)[: first.size]
    made = [
        _shape(_cut(rows, slice(begin, end), slice(knot[begin], knot[end])))
        for begin, end in zip(first.tolist(), ends.tolist(), strict=True)
    ]
    return {
        "error": np.array([one.error for one in made], np.float32),
        "knots": np.array([one.knot_us.size for one in made], np.uint16),
        "knot_us": np.concatenate([one.knot_us for one in made] or [rows.knot_us]),
        "knot_value": np.concatenate([one.knot_value for one in made] or [rows.knot_value]),
        "sketch": np.array([one.sketch for one in made], np.uint8).reshape(-1, SKETCH_POINTS),
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """The summaries of one group, in order; columns as in `SummaryColumns`."""

    since_us: NDArray[np.int64]
    """Start, microseconds since the first part's start."""
    count: NDArray[np.uint32]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    error: NDArray[np.float64]
    knots: NDArray[np.uint16]
    knot_us: NDArray[np.int64]
    knot_value: NDArray[np.float32]
    sketch: NDArray[np.uint8]


def _cut(rows: SummaryColumns, part: slice, knot: slice) -> _Parts:
    return _Parts(
        since_us=rows.start_us[part] - rows.start_us[part.start],
        count=rows.count[part],
        low=rows.low[part].astype(np.float64),
        high=rows.high[part].astype(np.float64),
        error=rows.error[part].astype(np.float64),
        knots=rows.knots[part],
        knot_us=rows.knot_us[knot],
        knot_value=rows.knot_value[knot],
        sketch=rows.sketch[part],
    )


def _shape(parts: _Parts) -> _Shape:
    if parts.count.size == 1:
        error = np.float32(parts.error[0])
        return _Shape(error, parts.knot_us, parts.knot_value, parts.sketch[0])
    return _Shape(*_line(parts), _sketch(parts))


def _line(parts: _Parts) -> tuple[np.float32, NDArray[np.int64], NDArray[np.float32]]:
    """Return the bound, times and values of at most MAX_KNOTS of the parts' knots.

    A part's bound holds against its own line, from which the new line is nowhere further than at
    one of its knots: both are straight between them. No line between readings is further from a
    reading than the readings are from each other.
    """
    owner = np.repeat(np.arange(parts.knots.size), parts.knots)
    at_us = parts.since_us[owner] + parts.knot_us
    exact = parts.knot_value.astype(np.float64)
    low, high = float(parts.low.min()), float(parts.high.max())
    bound = max((high - low) * SPAN_SHARE, float(parts.error.max()))
    while (chosen := swing(at_us / 1e6, exact, bound=bound)).size > MAX_KNOTS:
        bound *= 2
    knot_us, knot_value = at_us[chosen], parts.knot_value[chosen]
    beside = _beside(owner, at_us, exact, (knot_us, knot_value))
    error = min(float((parts.error[owner] + beside).max()), high - low)
    rounding = ROUNDING * max(abs(low), abs(high))
    return np.nextafter(np.float32(error + rounding), np.float32(np.inf)), knot_us, knot_value


def _beside(
    owner: NDArray[np.int64],
    at_us: NDArray[np.int64],
    value: NDArray[np.float64],
    line: tuple[NDArray[np.int64], NDArray[np.float32]],
) -> NDArray[np.float64]:
    """Distance of each old knot from the new line; 0 where no reading can lie.

    Of knots at one time the last counts there and after it, the first before it. No reading lies
    between parts: the line that leads up to a part's first knot is no concern of that part.
    """
    knot_us, knot_value = line
    same, later = np.diff(owner) == 0, np.diff(at_us) > 0
    after = np.abs(value - reconstruct(at_us, knot_us, knot_value))
    before = np.abs(value - reconstruct(-at_us[::-1], -knot_us[::-1], knot_value[::-1])[::-1])
    after[:-1][same & ~later] = 0
    before[0] = 0
    before[1:][~(same & later)] = 0
    return np.maximum(after, before)


def _sketch(parts: _Parts) -> NDArray[np.uint8]:
    """Quantiles (i + 0.5)/16 of the parts' points by weight, in 1/255 of the common span."""
    low, high = float(parts.low.min()), float(parts.high.max())
    if high <= low:
        return np.zeros(SKETCH_POINTS, np.uint8)
    points = parts.low[:, None] + parts.sketch / 255 * (parts.high - parts.low)[:, None]
    pieces = [slice(at, at + AT_ONCE) for at in range(0, parts.count.size, AT_ONCE)]
    merged = reduce(
        QuantileSketch.merge, [_pooled(points[piece], parts.count[piece]) for piece in pieces]
    )
    found = np.array([merged.quantile(level) for level in LEVELS.tolist()], np.float64)
    return np.rint((found - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)


def _pooled(points: NDArray[np.float64], count: NDArray[np.uint32]) -> QuantileSketch:
    """Return what merging the sketches of up to AT_ONCE rows of points one by one gives."""
    weights = np.repeat(count / SKETCH_POINTS, SKETCH_POINTS)
    order = np.argsort(points, axis=None, kind="stable")
    return QuantileSketch(points.reshape(-1)[order], weights[order])
