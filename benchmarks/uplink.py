"""Bytes that go up instead of raw data, on recordings of a real water rig (SKAB).

The payloads as published go through decoder, pipeline and encoders, as in the gateway. Every
summary is decoded again and held against the recording: is each reading within the stated bound?
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import BenchmarkError, Report
from gateway.config import Config
from gateway.edge import Edge
from gateway.models.shelf import open_shelf_blocking
from gateway.outbox import Entry
from gateway.summary.knots import reconstruct
from sensors.catalogue import open_recordings
from sensors.encoder import SourceEncoder
from sensors.recording import Chunk, Recording
from wire.blocks import SummaryBlock, decode_summaries
from wire.topics import Topics

DATA = Path(__file__).parents[1].parent / "shared" / "data" / "skab"
BATCH_MESSAGES = 256
LARGEST_RATIO = 1 / 40


@dataclass(frozen=True, slots=True)
class Message:
    """What the decoder needs of an MQTT PUBLISH."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class Bounds:
    """How the summaries' stated bounds compare with the recording."""

    readings: int = 0
    outside: int = 0
    """Readings further from the line than the bound says."""
    summaries: int = 0
    shares: list[float] = field(default_factory=list)
    """Bound of each summary as a share of its channel's span in the whole recording."""


def main() -> None:
    """Replay all recordings through the gateway's parts and compare."""
    report = Report.from_command_line("uplink", about=__doc__)
    if not DATA.is_dir():
        report.add(skipped=f"expected recordings in {DATA}, found none")
        report.finish()
        return
    recordings = open_recordings(DATA, preset="skab")
    recordings = recordings[: report.size(quick=6, full=len(recordings))]
    raw, entries = play(recordings)
    up = Counter[str]()
    for entry in entries:
        up[entry.kind] += len(entry.payload)
    tell_bytes(report, raw, up)
    blocks = [decode_summaries(entry.payload) for entry in entries if entry.kind == "summaries"]
    tell_bounds(report, check_bounds(recordings, blocks))
    report.finish()


def play(recordings: list[Recording]) -> tuple[dict[str, int], list[Entry]]:
    """Pass all rows, one recording after the other; return what was published and what goes up."""
    config = Config()
    rows = config.summaries.most_rows
    edge = Edge(config, open_shelf_blocking(None, most_rows=rows), epoch="bench")
    raw = Counter[str]()
    entries: list[Entry] = []
    for recording in recordings:
        for messages in batches_of(recording, config.topics):
            raw["messages"] += len(messages)
            raw["bytes"] += sum(len(message.payload) for message in messages)
            entries += edge.take(messages, arrival_ms=0.0)
    entries += chain.from_iterable(edge.flush())
    raw["readings"] = edge.ledger.scored
    return dict(raw), entries


def batches_of(recording: Recording, topics: Topics) -> Iterator[list[Message]]:
    """Encode a recording as `sensors replay` does, in batches as the gateway gets them."""
    names = [channel.name for channel in recording.channels]
    encoder = SourceEncoder(names, epoch="bench")
    topic = topics.readings(recording.asset)
    batch: list[Message] = []
    for row in recording.rows():
        payload = encoder.encode(row)
        assert payload is not None
        batch.append(Message(topic, payload))
        if len(batch) == BATCH_MESSAGES:
            yield batch
            batch = []
    yield batch


def tell_bytes(report: Report, raw: dict[str, int], up: Counter[str]) -> None:
    """Report bytes up and raw; excerpts have a budget of their own."""
    bytes_up = up["alerts"] + up["summaries"]
    report.add(
        readings=raw["readings"],
        messages=raw["messages"],
        bytes_raw=raw["bytes"],
        bytes_up=bytes_up,
        bytes_alerts=up["alerts"],
        bytes_summaries=up["summaries"],
        bytes_excerpts=up["excerpts"],
        ratio=round(bytes_up / raw["bytes"], 5),
        raw_bytes_per_byte_up=round(raw["bytes"] / bytes_up, 1),
        wanted_ratio=LARGEST_RATIO,
        within=bytes_up <= LARGEST_RATIO * raw["bytes"],
    )


def check_bounds(recordings: Iterable[Recording], blocks: Iterable[SummaryBlock]) -> Bounds:
    """Hold every summary against the readings that it stands for."""
    chunks = {recording.asset: (recording, recording.whole()) for recording in recordings}
    bounds = Bounds()
    for block in blocks:
        ends = np.cumsum(block.rows.knots)
        for index, end in enumerate(ends):
            recording, chunk = chunks[block.assets[block.rows.asset[index]]]
            names = [channel.name for channel in recording.channels]
            column = names.index(block.channels[block.rows.channel[index]])
            knots = slice(int(end) - int(block.rows.knots[index]), int(end))
            check_summary(bounds, block, index, knots, (chunk, column))
    return bounds


def check_summary(
    bounds: Bounds, block: SummaryBlock, index: int, knots: slice, source: tuple[Chunk, int]
) -> None:
    """Compare one summary's line with its readings; raise BenchmarkError when some are missing."""
    rows, (chunk, column) = block.rows, source
    start_us, end_us = int(rows.start_us[index]), int(rows.end_us[index])
    series = chunk.values[:, column]
    present = np.isfinite(series)
    inside = present & (chunk.t_us >= start_us) & (chunk.t_us <= end_us)
    if int(inside.sum()) < int(rows.count[index]):
        raise BenchmarkError(f"expected {rows.count[index]} readings, found {inside.sum()}")
    line = reconstruct(chunk.t_us[inside] - start_us, rows.knot_us[knots], rows.knot_value[knots])
    error = float(rows.error[index])
    bounds.outside += count_outside(series[inside], line, error)
    bounds.readings += int(inside.sum())
    bounds.summaries += 1
    span = float(np.ptp(series[present]))
    if span > 0:
        bounds.shares.append(error / span)


def count_outside(values: NDArray[np.float64], line: NDArray[np.float64], error: float) -> int:
    """Count readings beyond the bound; summaries are float32, so one of its steps is granted."""
    step = np.spacing(np.abs(values).astype(np.float32))
    return int((np.abs(values - line) > error + step).sum())


def tell_bounds(report: Report, bounds: Bounds) -> None:
    """Report how far the lines are from the readings at most."""
    report.add(
        summaries=bounds.summaries,
        readings_checked=bounds.readings,
        readings_outside_bound=bounds.outside,
        median_bound_share_of_span=round(statistics.median(bounds.shares), 4),
        largest_bound_share_of_span=round(max(bounds.shares), 4),
    )


if __name__ == "__main__":
    main()
