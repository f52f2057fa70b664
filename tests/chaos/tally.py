"""Proves, stream by stream, that every produced reading is stored once: no hole, no overlap."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.chaos.produced import Produced
from tests.chaos.stored import Gap, Stored, Summaries

__all__ = ["Tally", "tally"]

MEAN_TOLERANCE = 1e-5
NEVER = np.iinfo(np.int64).max


@dataclass(slots=True)
class Tally:
    """Readings by where they are."""

    stored: int = 0
    gaps: int = 0
    lost: int = 0
    duplicated: int = 0
    pending: int = 0
    """Not there yet, where the run is not over."""
    out_of_order: int = 0
    """Summaries that overlap another, or whose first or last value is not the first or last."""
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Stream:
    """Readings of one stream that must be stored, by time."""

    name: str
    times_us: NDArray[np.int64]
    values: NDArray[np.float32]


def tally(produced: Produced, stored: Stored, *, is_over: bool) -> Tally:
    """Count every reading; unless the run is over, what is not there yet is pending."""
    result = Tally()
    told = [gap for gap in stored.gaps if gap.source and gap.reason != "unmarked"]
    empty = {asset: 0 for asset, _ in stored.summaries if asset not in produced.sources}
    result.findings += [f"{asset}: stored, but never produced" for asset in empty]
    for source, rows in produced.sources.items():
        gone = rows.covered(gap.range for gap in told if gap.source == source)
        result.gaps += int(gone.sum()) * len(rows.channels)
        for column, channel in enumerate(rows.channels):
            values = rows.values[~gone, column].astype(np.float32)
            stream = _Stream(f"{source}/{channel}", rows.times_us[~gone], values)
            found = stored.summaries.get((source, channel))
            if found is None:
                _count_absent(result, stream, stream.times_us.size, is_over=is_over)
            else:
                _count_stream(result, stream, found, is_over=is_over)
    _settle_unplaced(result, stored.gaps)
    return result


def _count_absent(result: Tally, stream: _Stream, missing: int, *, is_over: bool) -> None:
    if not is_over:
        result.pending += missing
    elif missing:
        result.lost += missing
        result.findings.append(f"{stream.name}: {missing} readings are nowhere")


def _count_stream(result: Tally, stream: _Stream, found: Summaries, *, is_over: bool) -> None:
    result.stored += int(found.count.sum())
    begin = np.searchsorted(stream.times_us, found.start_us, "left")
    end = np.searchsorted(stream.times_us, found.end_us, "right")
    clean = _clusters(result, stream, found, (begin, end))
    outside = np.ones(stream.times_us.size, np.bool_)
    for first, last in zip(begin.tolist(), end.tolist(), strict=True):
        outside[first:last] = False
    tail = outside[int(end.max()) :].copy()
    outside[int(end.max()) :] = False
    holes = int(outside.sum())
    if holes and not is_over:
        result.pending += holes
    elif holes:
        result.lost += holes
        first_us = int(stream.times_us[outside.argmax()])
        result.findings.append(f"{stream.name}: {holes} readings missing from {first_us} us on")
    _count_absent(result, stream, int(tail.sum()), is_over=is_over)
    for index in np.flatnonzero(clean):
        _check_content(result, stream, found, (int(index), int(begin[index]), int(end[index])))


def _clusters(
    result: Tally,
    stream: _Stream,
    found: Summaries,
    span: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.bool_]:
    """Compare counts, overlapping summaries together; return which stand alone and are right."""
    reach = np.maximum.accumulate(found.end_us)
    joins = np.append(False, found.start_us[1:] <= reach[:-1])
    group = np.cumsum(~joins) - 1
    first = np.flatnonzero(~joins)
    covered = np.maximum.reduceat(span[1], first) - span[0][first]
    excess = np.add.reduceat(found.count, first) - covered
    size = np.bincount(group)
    result.duplicated += int(excess[excess > 0].sum())
    result.lost -= int(excess[excess < 0].sum())
    result.out_of_order += int((size[size > 1] - 1).sum())
    for bad in np.flatnonzero((excess != 0) | (size > 1)):
        at = int(first[bad])
        result.findings.append(
            f"{stream.name}: {size[bad]} summaries from {found.start_us[at]} us hold "
            f"{covered[bad] + excess[bad]} readings, {covered[bad]} were produced there"
        )
    return ((excess == 0) & (size == 1))[group]


def _check_content(
    result: Tally, stream: _Stream, found: Summaries, place: tuple[int, int, int]
) -> None:
    """Compare a summary with the readings that it stands for."""
    index, begin, end = place
    values, name = stream.values[begin:end], f"{stream.name} at {found.start_us[index]} us"
    if found.start_us[index] != stream.times_us[begin] or (
        found.end_us[index] != stream.times_us[end - 1]
    ):
        result.findings.append(f"{name}: does not begin and end at readings")
    if found.first[index] != values[0] or found.last[index] != values[-1]:
        result.out_of_order += 1
        result.findings.append(f"{name}: first or last value is not the first or last produced")
    if found.low[index] != values.min() or found.high[index] != values.max():
        result.findings.append(f"{name}: low or high is not that of the produced readings")
    mean = values.astype(np.float64).mean()
    if abs(found.mean[index] - mean) > MEAN_TOLERANCE * max(1.0, abs(mean)):
        result.findings.append(f"{name}: mean {found.mean[index]}, produced {mean}")
    _check_knots(result, found, index, (stream.times_us[begin:end], values, name))


def _check_knots(
    result: Tally,
    found: Summaries,
    index: int,
    readings: tuple[NDArray[np.int64], NDArray[np.float32], str],
) -> None:
    times_us, values, name = readings
    at_us = found.start_us[index] + found.knot_us[index]
    place = np.minimum(np.searchsorted(times_us, at_us), times_us.size - 1)
    if not (
        np.array_equal(times_us[place], at_us)
        and np.array_equal(values[place], found.knot_value[index])
    ):
        result.findings.append(f"{name}: a knot is no produced reading")


def _settle_unplaced(result: Tally, gaps: list[Gap]) -> None:
    """Set readings reported without their place (lost summaries) against those missing."""
    reported = sum(gap.readings for gap in gaps if not gap.source and gap.reason != "merged")
    if not reported:
        return
    explained = min(reported, result.lost)
    result.gaps += reported
    result.lost -= explained
    result.findings = [text for text in result.findings if result.lost or "missing" not in text]
    if reported > explained:
        extra = reported - explained
        result.findings.append(f"{extra} readings are reported as lost, but nothing is missing")
