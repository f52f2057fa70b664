"""Frames for tests, and a pipeline that is fed with them in any cuts."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from gateway.batch import Batch, Draft
from gateway.models.shelf import Shelf
from gateway.pipeline import Effects, Pipeline, PipelineSettings
from gateway.score.scorer import Scorer
from gateway.summary.excerpts import ExcerptPlan
from tests.gateway.graphs import bundled, load
from wire.blocks import ExcerptBlock, SummaryBlock, encode_excerpt, encode_summaries
from wire.codec import encode_json
from wire.contract import ModelFile

Block = TypeVar("Block", SummaryBlock, ExcerptBlock)

SMALL = PipelineSettings(
    period_s=20.0,
    least_rows=5,
    most_rows=32,
    block_summaries=6,
    excerpts=ExcerptPlan(history_rows=24, sample_every=40, sample_rows=8),
)
SECOND_US = 1_000_000


class Frame(NamedTuple):
    """What one asset reported at one time; None = null."""

    asset: str
    time_ms: float
    values: dict[str, float | None]


@dataclass
class Run:
    """Everything that came out, as bytes where it goes out as bytes."""

    alerts: list[bytes] = field(default_factory=list)
    states: list[bytes] = field(default_factory=list)
    summaries: list[bytes] = field(default_factory=list)
    excerpts: list[bytes] = field(default_factory=list)
    scores: list[tuple[str, float, str, bytes, str]] = field(default_factory=list)
    """Asset, time, channel, bits of the score, model."""
    surprise: list[bytes] = field(default_factory=list)
    counts: list[int] = field(default_factory=lambda: [0, 0, 0])


def draft_of(pipeline: Pipeline, frames: Iterable[Frame]) -> Batch:
    draft = Draft()
    for frame in frames:
        asset = pipeline.directory.asset(frame.asset)
        draft.asset.append(asset)
        draft.time_ms.append(frame.time_ms)
        draft.width.append(len(frame.values))
        for channel, value in frame.values.items():
            draft.stream.append(pipeline.directory.stream(asset, channel))
            draft.value.append(np.nan if value is None else value)
    return draft.batch()


def machine(*models: ModelFile | Scorer, settings: PipelineSettings = SMALL) -> Pipeline:
    shelf = Shelf(load(bundled()))
    for model in models:
        shelf.place(load(model) if isinstance(model, ModelFile) else model)
    pipeline = Pipeline("g1", shelf.bundled, settings)
    pipeline.install(shelf.line_up())
    return pipeline


def feed(pipeline: Pipeline, frames: Sequence[Frame], cuts: Sequence[int] = ()) -> Run:
    run = Run()
    edges = [0, *sorted(cuts), len(frames)]
    for first, last in itertools.pairwise(edges):
        if last > first:
            take(run, pipeline, pipeline.step(draft_of(pipeline, frames[first:last])))
    return run


def take(run: Run, pipeline: Pipeline, effects: Effects) -> None:
    run.alerts += map(encode_json, effects.alerts)
    run.states += map(encode_json, effects.states)
    run.summaries += [encode_summaries(_named(block)) for block in effects.summaries]
    run.excerpts += [encode_excerpt(_named(block)) for block in effects.excerpts]
    run.counts = [
        count + more
        for count, more in zip(
            run.counts,
            (effects.missing, effects.out_of_range, effects.backward),
            strict=True,
        )
    ]
    directory = pipeline.directory
    names = {
        stream: (directory.assets[asset], directory.channels[asset][column])
        for asset in range(directory.asset_count)
        for column, stream in enumerate(directory.streams_of[asset])
    }
    models = [f"{scorer.card.id} {scorer.card.version}" for scorer in pipeline.fleet.scorers]
    for scored in effects.scored:
        batch, scores = scored.batch, scored.scores
        run.surprise += [
            scores.surprise.tobytes(),
            scores.decider.tobytes(),
            scores.frame.tobytes(),
        ]
        for at, frame in enumerate(batch.frame):
            asset, channel = names[int(batch.stream[at])]
            slot = int(scores.model[at])
            model = models[slot] if slot >= 0 else ""
            time_us = int(batch.time_us[frame])
            run.scores.append((asset, time_us, channel, scores.reading[at].tobytes(), model))


def _named(block: Block) -> Block:
    return dataclasses.replace(block, epoch="e1", seq=1)


def ramp(asset: str, rows: int, *, channel: str = "a", start: int = 0) -> list[Frame]:
    return [Frame(asset, 1000.0 * (start + row), {channel: float(row)}) for row in range(rows)]
