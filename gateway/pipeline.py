"""Steps 2 to 8 as one pure machine: (state, batch) -> effects, in event time, without I/O.

The same frames in the same order give the same effects, however they are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.alerts import alert_event, asset_state
from gateway.batch import Batch, Order, order_of
from gateway.directory import Directory
from gateway.episodes import Change, Episodes
from gateway.history import STEP_FRAMES, History
from gateway.preprocess import Checked, Clocks, preprocess
from gateway.score.fleet import Fleet, Scores
from gateway.score.scorer import Scorer
from gateway.summary.block import BlockDraft
from gateway.summary.excerpts import ExcerptPlan, Excerpts
from gateway.summary.periods import Closed, Periods
from gateway.summary.summarise import summarise
from wire.blocks import ExcerptBlock, SummaryBlock
from wire.messages import AlertEvent, AssetState

__all__ = ["Effects", "Pipeline", "PipelineSettings", "Scored"]


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What an operator may set of the pipeline."""

    period_s: float = 300.0
    """Length of a summary in event time, seconds."""
    least_rows: int = 240
    """A summary never ends by time before it holds so many rows."""
    most_rows: int = 256
    """A summary ends at so many rows, whatever the time; also the length of the history."""
    block_summaries: int = 256
    """Summaries that make a block go up at once, not only at the next tick."""
    excerpts: ExcerptPlan = field(default_factory=ExcerptPlan)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A segment with its scores, for backtests and tests."""

    batch: Batch
    scores: Scores


@dataclass(slots=True)
class Effects:
    """What the shell shall do, each list in order."""

    alerts: list[AlertEvent] = field(default_factory=list)
    states: list[AssetState] = field(default_factory=list)
    summaries: list[SummaryBlock] = field(default_factory=list)
    excerpts: list[ExcerptBlock] = field(default_factory=list)
    scored: list[Scored] = field(default_factory=list)
    missing: int = 0
    """Readings with a null value."""
    out_of_range: int = 0
    """Readings refused because no model can take them."""
    backward: int = 0
    """Frames whose event time was before the asset's previous one."""


class Pipeline:
    """The state of one gateway: who is there, recent rows, models, episodes, open periods."""

    def __init__(self, gateway: str, bundled: Scorer, settings: PipelineSettings) -> None:
        self.gateway = gateway
        self.settings = settings
        self.directory = Directory()
        self.fleet = Fleet([bundled])
        self.history = History(settings.most_rows)
        self.episodes = Episodes([bundled.card])
        self._clocks = Clocks()
        self._periods = Periods(
            int(settings.period_s * 1e6), settings.least_rows, settings.most_rows
        )
        self._block = BlockDraft(gateway, settings.block_summaries)
        self._excerpts = Excerpts(settings.excerpts)
        self._bound = (0, 0)

    def install(self, scorers: list[Scorer]) -> None:
        """Put these models into service, slot 0 first; history, periods and alerts go on."""
        self.fleet = Fleet(scorers, readings=self.fleet.readings)
        self.episodes.cards = [scorer.card for scorer in scorers]
        self._bound = (-1, -1)

    def step(self, batch: Batch) -> Effects:
        """Take in frames in order of arrival."""
        effects = Effects()
        self._hold()
        for segment, order in _segments(batch):
            self._segment(segment, order, effects)
        return effects

    def tick(self) -> Effects:
        """Let finished summaries go up that do not fill a block."""
        effects = Effects()
        self._emit(effects)
        return effects

    def flush(self) -> Effects:
        """End all open summaries and let them go up: the input has paused or stops."""
        effects = Effects()
        for closed in self._periods.flush(self.history.frames):
            self._summarise(closed, effects)
        self._emit(effects)
        return effects

    def _segment(self, batch: Batch, order: Order, effects: Effects) -> None:
        checked = preprocess(self._clocks, batch, order)
        number = self.history.append(checked.batch, order, self.directory)
        scores = self.fleet.score(checked.batch, order, number, self.history)
        changes = self.episodes.step(checked.batch, scores, self.directory.asset_count)
        self._tell(changes, effects)
        for closed in self._close(checked, number):
            self._summarise(closed, effects)
        source = (self.gateway, self.directory, self.history)
        effects.excerpts += self._excerpts.step(checked.batch, number, changes, source)
        effects.scored.append(Scored(checked.batch, scores))
        effects.missing += checked.missing
        effects.out_of_range += checked.out_of_range
        effects.backward += int(checked.backward.sum())

    def _hold(self) -> None:
        size = (self.directory.asset_count, self.directory.stream_count)
        if size != self._bound:
            self._bound = size
            self._clocks.hold(self.directory.asset_count)
            self.history.hold(self.directory)
            self.fleet.bind(self.directory)

    def _close(self, checked: Checked, number: NDArray[np.int64]) -> list[Closed]:
        return self._periods.step(checked.batch, number, checked.backward, self.directory.phase)

    def _tell(self, changes: list[Change], effects: Effects) -> None:
        for change in changes:
            effects.alerts.append(alert_event(self.gateway, change, self.directory))
            if change.phase != "updated":
                effects.states.append(asset_state(self.gateway, change, self.directory))

    def _summarise(self, closed: Closed, effects: Effects) -> None:
        streams = self.directory.streams_of[closed.asset]
        rows = self.history.rows_of(closed.asset, streams, closed.first, closed.last)
        columns, summaries = summarise(*rows)
        self._block.add(closed.asset, columns, summaries)
        if self._block.count >= self._block.full:
            self._emit(effects)

    def _emit(self, effects: Effects) -> None:
        block = self._block.take(self.directory)
        if block:
            effects.summaries.append(block)


def _segments(batch: Batch) -> Iterator[tuple[Batch, Order]]:
    """Cut the batch, in order, so that no asset has more than STEP_FRAMES frames in a piece."""
    while batch.asset.size:
        order = order_of(batch.asset)
        over = np.flatnonzero(order.rank >= STEP_FRAMES)
        if not over.size:
            yield batch, order
            return
        head = np.arange(batch.asset.size) < over[0]
        first = batch.take(head)
        yield first, order_of(first.asset)
        batch = batch.take(~head)
