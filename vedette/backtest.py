"""Runs the gateway's own pipeline over recordings, without broker, clock or payloads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.batch import Batch
from gateway.directory import Directory
from gateway.errors import ModelRefusedError
from gateway.models.shelf import open_shelf_blocking
from gateway.pipeline import Effects, Pipeline, PipelineSettings
from gateway.score.scorer import Scorer
from sensors.recording import Recording
from wire.messages import AlertEvent

__all__ = ["Backtest", "backtest", "batches_of", "open_pipeline"]

BATCH_ROWS = 2048


@dataclass(slots=True)
class Backtest:
    """What came out of a run."""

    rows: int = 0
    readings: int = 0
    readings_scored: int = 0
    alerts: list[AlertEvent] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    pipeline_cpu_s: float = 0.0
    """CPU seconds inside the pipeline, reading of files not counted."""
    effects: Effects = field(default_factory=Effects)
    """Summaries and excerpts of the whole run."""


def open_pipeline(
    gateway: str, models: Path | None, settings: PipelineSettings | None = None
) -> Pipeline:
    """Make a pipeline with the bundled model and those of a folder.

    Raises gateway.errors.ModelRefusedError when one of them would not serve.
    """
    chosen = settings or PipelineSettings()
    shelf = open_shelf_blocking(models, most_rows=chosen.most_rows)
    if shelf.refused:
        raise ModelRefusedError(str(models), "refused", "; ".join(shelf.refused))
    pipeline = Pipeline(gateway, shelf.bundled, chosen)
    pipeline.install(shelf.line_up())
    return pipeline


def backtest(
    recordings: Sequence[Recording],
    pipeline: Pipeline,
    *,
    batch_rows: int = BATCH_ROWS,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Backtest:
    """Feed all rows, side by side as `replay` does; nothing of the future is revealed.

    `progress` is told how many rows were done since it was last told.
    """
    result = Backtest(models=[_name(scorer) for scorer in pipeline.fleet.scorers])
    for batch in batches_of(recordings, pipeline.directory, rows=batch_rows):
        started = time.process_time()
        effects = pipeline.step(batch)
        result.pipeline_cpu_s += time.process_time() - started
        result.rows += batch.asset.size
        result.readings += int((~np.isnan(batch.value)).sum())
        _collect(result, effects)
        progress(batch.asset.size)
    _collect(result, pipeline.flush())
    return result


def batches_of(
    recordings: Sequence[Recording], directory: Directory, *, rows: int = BATCH_ROWS
) -> Iterator[Batch]:
    """Merge recordings by time since each one's start, a recording's own order kept."""
    chunks = [recording.whole() for recording in recordings]
    offsets = [np.maximum.accumulate(chunk.t_us - chunk.t_us[:1]) for chunk in chunks]
    owner = np.repeat(np.arange(len(chunks)), [len(chunk) for chunk in chunks])
    order = np.lexsort((owner, np.concatenate(offsets))) if chunks else np.zeros(0, np.int64)
    streams = [_streams(recording, directory) for recording in recordings]
    width = np.repeat([row.size for row in streams], [len(chunk) for chunk in chunks])
    whole = _Columns(
        asset=np.array([directory.asset(r.asset) for r in recordings], np.int32)[owner],
        time_us=np.concatenate([chunk.t_us for chunk in chunks]),
        width=width.astype(np.int32),
        start=np.concatenate([[0], np.cumsum(width)])[:-1],
        stream=np.concatenate(
            [np.tile(row, len(chunk)) for row, chunk in zip(streams, chunks, strict=True)]
        ),
        value=np.concatenate([chunk.values.reshape(-1) for chunk in chunks]),
    )
    for first in range(0, order.size, rows):
        yield whole.pick(order[first : first + rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """All rows of all recordings, one recording behind the other."""

    asset: NDArray[np.int32]
    time_us: NDArray[np.int64]
    width: NDArray[np.int32]
    start: NDArray[np.int64]
    stream: NDArray[np.int32]
    value: NDArray[np.float64]

    def pick(self, rows: NDArray[np.int64]) -> Batch:
        """Return these rows, in this order, as a batch."""
        width = self.width[rows]
        within = np.arange(int(width.sum())) - np.repeat(np.cumsum(width) - width, width)
        cells = np.repeat(self.start[rows], width) + within
        return Batch(
            self.asset[rows], self.time_us[rows], width, self.stream[cells], self.value[cells]
        )


def _streams(recording: Recording, directory: Directory) -> NDArray[np.int32]:
    asset = directory.asset(recording.asset)
    names = [channel.name for channel in recording.channels]
    return np.array([directory.stream(asset, name) for name in names], np.int32)


def _collect(result: Backtest, effects: Effects) -> None:
    result.readings_scored += sum(int((s.scores.model >= 0).sum()) for s in effects.scored)
    result.alerts += effects.alerts
    result.effects.summaries += effects.summaries
    result.effects.excerpts += effects.excerpts


def _name(scorer: Scorer) -> str:
    card = scorer.card
    return f"{card.id} {card.version}"
