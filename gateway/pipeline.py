"""Steps 2 to 8 as one pure machine: (state, batch) -> effects, in event time, without I/O.

The same frames in the same order give the same effects, however they are cut into batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.alerts import alert_event, asset_state
from gateway.batch import Batch, Order, order_of
from gateway.directory import Directory
from gateway.episodes import Change, Episodes
from gateway.errors import ModelFailedError
from gateway.history import STEP_FRAMES, History
from gateway.preprocess import LARGEST, Checked, Clocks, preprocess
from gateway.score.fleet import Fleet, Scores
from gateway.score.scorer import Scorer
from gateway.summary.block import BlockDraft
from gateway.summary.excerpts import ExcerptPlan, Excerpts
from gateway.summary.periods import Closed, Periods
from gateway.summary.summarise import summarise
from wire.blocks import ExcerptBlock, SummaryBlock
from wire.messages import AlertEvent, AssetState

__all__ = ["Effects", "Pipeline", "PipelineSettings", "Remark", "Scored"]

FLUSH_ASSETS = 64
"""Assets whose open summaries one part of a flush ends."""


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What an operator may set of the pipeline."""

    period_s: float = 300.0
    """Length of a summary in event time, seconds."""
    least_rows: int = 240
    """A summary never ends by time before it holds so many rows."""
    most_rows: int = 256
    """A summary ends at so many rows, whatever the time; also the length of the history."""
    block_summaries: int = 128
    """Summaries that make a block go up at once, not only at the next tick."""
    excerpts: ExcerptPlan = field(default_factory=ExcerptPlan)


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A segment with its scores, for backtests and tests."""

    batch: Batch
    scores: Scores
    scorers: list[Scorer]
    """The models by slot."""


class Remark(NamedTuple):
    """A fault of the input, in words for operators."""

    where: str
    """Asset or stream."""
    reason: str
    """Short code."""
    detail: str
    """What was expected, and what came."""


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
    remarks: list[Remark] = field(default_factory=list)
    """An example of each kind of fault in the batch."""
    failed: list[ModelFailedError] = field(default_factory=list)
    """Models that failed at a segment; they are out of service, and others scored it."""


class Pipeline:
    """The state of one gateway: who is there, recent rows, models, episodes, open periods."""

    def __init__(self, gateway: str, bundled: Scorer, settings: PipelineSettings) -> None:
        self.gateway = gateway
        self.settings = settings
        self.directory = Directory()
        self.bundled = bundled
        self.fleet = Fleet([bundled])
        self.history = History(settings.most_rows)
        self.episodes = Episodes([bundled.card])
        self.clocks = Clocks()
        self.periods = Periods(
            int(settings.period_s * 1e6), settings.least_rows, settings.most_rows
        )
        self.block = BlockDraft(gateway, settings.block_summaries)
        self.excerpts = Excerpts(settings.excerpts)

    def install(self, scorers: list[Scorer], *, readings: NDArray[np.int64] | None = None) -> None:
        """Put these models into service, slot 0 first; history, periods and alerts go on.

        Slot 0 warms up anew where it is another model than before, unless `readings` [streams] say
        how many it has scored already.
        """
        same = scorers[0] is self.fleet.scorers[0]
        warm = self.fleet.readings if same and readings is None else readings
        self.fleet = Fleet(scorers) if warm is None else Fleet(scorers, readings=warm)
        self.episodes.cards = [scorer.card for scorer in scorers]
        self._hold()
        self.fleet.cover(range(self.directory.asset_count), self.directory, self.history)

    def put_in_force(self, settings: PipelineSettings) -> None:
        """Go on by other settings; flush before where `most_rows` changes, as the ring does."""
        self.settings = settings
        self.periods.period_us = int(settings.period_s * 1e6)
        self.periods.least_rows = settings.least_rows
        self.periods.most_rows = settings.most_rows
        self.block.full = settings.block_summaries
        self.excerpts.plan = settings.excerpts
        if self.history.rows != settings.most_rows:
            self.history = self.history.relaid(settings.most_rows, self.directory)

    def step(self, batch: Batch) -> Effects:
        """Take in frames in order of arrival."""
        effects = Effects()
        self._hold()
        checked = preprocess(self.clocks, batch, order_of(batch.asset))
        self._remark(checked, effects)
        for part in _segments(checked.batch, checked.backward, self.history):
            self._segment(part, effects)
        return effects

    def tick(self) -> Effects:
        """Let finished summaries go up that do not fill a block."""
        effects = Effects()
        self._emit(effects)
        return effects

    def flush(self) -> Effects:
        """End all open summaries and let them go up: the input has paused or stops."""
        effects = Effects()
        while self.flush_some(effects):
            pass
        return effects

    def flush_some(self, effects: Effects) -> bool:
        """Do a part of `flush` into `effects`; return whether more is left."""
        self._hold()
        some = self.periods.flush(self.history.frames, most=FLUSH_ASSETS)
        for closed in some:
            self._summarise(closed, effects)
        if not some:
            self._emit(effects)
        return bool(some)

    def _segment(self, part: _Segment, effects: Effects) -> None:
        batch = part.batch
        newcomers = self.history.newcomers(batch)
        number = self.history.append(batch, part.order, self.directory)
        if newcomers.size:
            assets = np.unique(batch.asset[batch.frame[newcomers]]).tolist()
            self.fleet.cover(assets, self.directory, self.history)
        scores = self._score(part, number, effects)
        changes = self.episodes.step(batch, scores, self.directory.asset_count)
        self._tell(changes, effects)
        for closed in self.periods.step(batch, number, part.backward, self.directory.phase):
            self._summarise(closed, effects)
        source = (self.gateway, self.directory, self.history)
        effects.excerpts += self.excerpts.step(batch, number, changes, source)
        effects.scored.append(Scored(batch, scores, self.fleet.scorers))

    def _score(self, part: _Segment, number: NDArray[np.int64], effects: Effects) -> Scores:
        """Score a segment; whichever model fails at it leaves, and the others score it anew."""
        while True:
            try:
                return self.fleet.score(part.batch, part.order, number, self.history)
            except ModelFailedError as error:
                if error.name == self.bundled.name:
                    raise
                effects.failed.append(error)
                fallback, *others = self.fleet.scorers
                fallback = self.bundled if error.name == fallback.name else fallback
                self.install([fallback, *(one for one in others if one.name != error.name)])

    def _hold(self) -> None:
        self.clocks.hold(self.directory.asset_count)
        self.history.hold(self.directory)
        self.fleet.hold(self.directory)

    def _remark(self, checked: Checked, effects: Effects) -> None:
        effects.missing += checked.missing
        effects.out_of_range += checked.refused.size
        effects.backward += int(checked.backward.sum())
        for frame in np.flatnonzero(checked.backward)[-1:]:
            came, before = int(checked.batch.time_us[frame]), int(checked.before_us[frame])
            detail = f"expected {before / 1000:.3f} ms or later, got {came / 1000:.3f} ms"
            where = self.directory.assets[checked.batch.asset[frame]]
            effects.remarks.append(Remark(where, "backward", detail))
        for reading in checked.refused[-1:]:
            where = self.directory.assets[checked.batch.asset[checked.batch.frame[reading]]]
            detail = f"expected a value within +-{LARGEST:g}, got one beyond"
            effects.remarks.append(Remark(where, "out_of_range", detail))

    def _tell(self, changes: list[Change], effects: Effects) -> None:
        for change in changes:
            effects.alerts.append(alert_event(self.gateway, change, self.directory))
            if change.phase != "updated":
                effects.states.append(asset_state(self.gateway, change, self.directory))

    def _summarise(self, closed: Closed, effects: Effects) -> None:
        streams = self.directory.streams_of[closed.asset]
        rows = self.history.rows_of(closed.asset, streams, closed.first, closed.last)
        nulls = self.history.nulls_of(streams, closed.first, closed.last)
        columns, summaries = summarise(*rows, nulls)
        self.block.add(closed.asset, columns, summaries, self.directory)
        if self.block.count >= self.block.full:
            self._emit(effects)

    def _emit(self, effects: Effects) -> None:
        block = self.block.take()
        if block:
            effects.summaries.append(block)


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """Frames that may be taken in at once."""

    batch: Batch
    order: Order
    backward: NDArray[np.bool_]


def _segments(batch: Batch, backward: NDArray[np.bool_], history: History) -> Iterator[_Segment]:
    """Cut the batch, in order, so that all frames of a piece see the same streams of their asset.

    Nor has an asset more than STEP_FRAMES frames in a piece. Take each one in before the next.
    """
    while batch.asset.size:
        order = order_of(batch.asset)
        end = _end(batch, order, history)
        if end == batch.asset.size:
            yield _Segment(batch, order, backward)
            return
        head = np.arange(batch.asset.size) < end
        first = batch.take(head)
        yield _Segment(first, order_of(first.asset), backward[head])
        batch, backward = batch.take(~head), backward[~head]


def _end(batch: Batch, order: Order, history: History) -> int:
    over = np.flatnonzero(order.rank >= STEP_FRAMES)
    births = history.newcomers(batch)
    late = batch.frame[births] if births.size else births
    late = late[order.rank[late] > 0]
    return int(min(over[:1].min(initial=batch.asset.size), late.min(initial=batch.asset.size)))
