"""Which model scores which stream, and the scores of one step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch, Order, order_of
from gateway.directory import Directory
from gateway.history import History
from gateway.score.calibration import surprise
from gateway.score.scorer import Scorer
from wire.contract import ANY

__all__ = ["Fleet", "Scores"]

NONE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the models said of a batch of F frames and R readings."""

    reading: NDArray[np.float32]
    """[R] score of each reading (no unit, higher = more anomalous); NaN = missing value."""
    model: NDArray[np.int32]
    """[R] slot of the model that made it; -1 = missing value."""
    frame: NDArray[np.float32]
    """[F] score of each frame, of the model that decided it."""
    surprise: NDArray[np.float64]
    """[F] -log10 p of the frame; 0 while its streams warm up."""
    decider: NDArray[np.int32]
    """[F] slot of the model that gave `surprise`."""


@dataclass(slots=True)
class _Binding:
    """A per-asset model's view of the directory."""

    names: dict[str, int]
    """Asset name to row in the model's tables."""
    channels: tuple[str, ...]
    row: NDArray[np.int64]
    """[assets] row in the model's tables, -1 = not covered."""
    streams: NDArray[np.int64]
    """[assets, channels]"""

    def row_of(self, asset: str) -> int | None:
        """Row of an asset, None where the model does not know it."""
        return self.names.get(asset, self.names.get(ANY))


@dataclass(slots=True)
class Fleet:
    """The models in service; slot 0 is the bundled one, which scores whatever no other covers."""

    scorers: list[Scorer]
    bindings: dict[int, _Binding] = field(default_factory=dict)
    readings: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[streams] readings scored by slot 0, for its warm-up."""
    asset_slot: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """[assets] slot of the per-asset model that covers it, 0 = none."""
    stream_slot: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """[streams] slot of the model that scores it once the asset has a full window."""
    stream_column: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """[streams] column of the stream in that model."""

    def __post_init__(self) -> None:
        for slot, scorer in enumerate(self.scorers[1:], 1):
            card = scorer.card
            self.bindings[slot] = _Binding(
                names={name: row for row, name in enumerate(card.assets)},
                channels=tuple(channel.name for channel in card.channels),
                row=np.zeros(0, np.int64),
                streams=np.zeros((0, len(card.channels)), np.int64),
            )

    def hold(self, directory: Directory) -> None:
        """Make room for the directory's assets and streams."""
        assets, streams = directory.asset_count, directory.stream_count
        self.asset_slot = grown(self.asset_slot, assets)
        self.stream_slot = grown(self.stream_slot, streams)
        self.stream_column = grown(self.stream_column, streams)
        self.readings = grown(self.readings, streams)
        self.scorers[0].hold(streams)
        for slot, binding in self.bindings.items():
            binding.row = grown(binding.row, assets, fill=NONE)
            binding.streams = grown(binding.streams, assets)
            self.scorers[slot].hold(assets)

    def cover(self, assets: Iterable[int], directory: Directory, history: History) -> None:
        """Give assets to the models that know them and whose channels have all had a value.

        Call it for assets of which a stream has just had its first value; the last model wins.
        """
        if not self.bindings:
            return
        for asset in assets:
            known = directory.streams(asset)
            for slot, binding in self.bindings.items():
                row = binding.row_of(directory.assets[asset])
                streams = [known.get(name, NONE) for name in binding.channels]
                if row is None or NONE in streams or (history.born[streams] < 0).any():
                    continue
                binding.row[asset], binding.streams[asset] = row, streams
                self.asset_slot[asset] = slot
                self.stream_slot[streams] = slot
                self.stream_column[streams] = np.arange(len(streams))

    def score(
        self, batch: Batch, order: Order, number: NDArray[np.int64], history: History
    ) -> Scores:
        """Score every reading of frames that `history` holds already; `number` [F] are theirs."""
        valid = ~np.isnan(batch.value)
        frame = batch.frame
        slot = self._slots(batch, number)
        scores = Scores(
            reading=np.full(batch.value.size, np.nan, np.float32),
            model=np.where(valid, slot[frame], NONE).astype(np.int32),
            frame=np.zeros(batch.asset.size, np.float32),
            surprise=np.zeros(batch.asset.size),
            decider=slot.astype(np.int32),
        )
        outside = valid & (self.stream_slot[batch.stream] != slot[frame])
        scores.model[outside] = 0
        self._score_streams(batch, order, (number, history), scores)
        for one in np.unique(slot[slot > 0]):
            self._score_assets(int(one), batch, order, (number, history), scores)
        return scores

    def _slots(self, batch: Batch, number: NDArray[np.int64]) -> NDArray[np.int32]:
        """[F] model of each frame: the covering one as soon as its window is full."""
        slot = self.asset_slot[batch.asset]
        windows = np.array([scorer.card.window for scorer in self.scorers], np.int64)
        return np.where(number + 1 >= windows[slot], slot, 0).astype(np.int32)

    def _score_streams(
        self,
        batch: Batch,
        order: Order,
        windows: tuple[NDArray[np.int64], History],
        scores: Scores,
    ) -> None:
        scorer, (number, history) = self.scorers[0], windows
        frame = batch.frame
        mine = np.flatnonzero(scores.model == 0)
        for rows in scorer.waves(mine, order.rank[frame[mine]]):
            units = batch.stream[rows].astype(np.int64)
            frames = frame[rows]
            if scorer.card.window == 1:
                x = batch.value[rows].astype(np.float32)[:, None, None]
                mask = np.ones_like(x) if scorer.takes_mask else None
            else:
                at, span = (units[:, None], number[frames]), scorer.card.window
                x = history.window(*at, rows=span)
                mask = history.mask(*at, rows=span) if scorer.takes_mask else None
            scores.reading[rows], _ = scorer.score(units, x, mask=mask)
            level = surprise(scorer.card.calibration, scores.reading[rows])
            level -= np.log10(batch.width[frames])  # Bonferroni: the most surprising of a frame
            level[self._count(units) <= scorer.card.warmup] = 0.0
            np.maximum.at(scores.surprise, frames, level)
            np.maximum.at(scores.frame, frames, scores.reading[rows])

    def _count(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count a reading of each unit; return how many that makes, of equal units in order."""
        counted = self.readings[units] + 1
        if not self.scorers[0].states:  # else a wave has no unit twice
            counted += order_of(units).rank
        self.readings[units] = counted
        return counted

    def _score_assets(
        self,
        slot: int,
        batch: Batch,
        order: Order,
        windows: tuple[NDArray[np.int64], History],
        scores: Scores,
    ) -> None:
        scorer, binding, (number, history) = self.scorers[slot], self.bindings[slot], windows
        mine = np.flatnonzero(scores.decider == slot)
        for frames in scorer.waves(mine, order.rank[mine]):
            asset = batch.asset[frames]
            streams, at = binding.streams[asset], number[frames]
            x = history.window(streams, at, rows=scorer.card.window)
            mask = history.mask(streams, at, rows=x.shape[1]) if scorer.takes_mask else None
            rows = None if scorer.card.any_asset else binding.row[asset]
            result = scorer.score(asset.astype(np.int64), x, mask=mask, rows=rows)
            self._decide(slot, scores, frames, result[0])
            self._hand_down(slot, batch, scores, frames, result)

    def _decide(
        self,
        slot: int,
        scores: Scores,
        frames: NDArray[np.int64],
        score: NDArray[np.float32],
    ) -> None:
        """Let the model decide its frames, but where a channel it does not know is remarkable."""
        level = surprise(self.scorers[slot].card.calibration, score)
        others = scores.surprise[frames]
        remarkable = -np.log10(self.scorers[0].card.alert.p_clear)
        outdone = (others > level) & (others >= remarkable)
        scores.decider[frames[outdone]] = 0
        frames = frames[~outdone]
        scores.surprise[frames], scores.frame[frames] = level[~outdone], score[~outdone]

    def _hand_down(
        self,
        slot: int,
        batch: Batch,
        scores: Scores,
        frames: NDArray[np.int64],
        result: tuple[NDArray[np.float32], NDArray[np.float32] | None],
    ) -> None:
        """Give each reading its channel's score, or its frame's where the model has only that."""
        score, by_channel = result
        place = np.full(batch.asset.size, NONE)
        place[frames] = np.arange(frames.size)
        at = place[batch.frame]
        rows = np.flatnonzero((scores.model == slot) & (at != NONE))
        at = at[rows]
        if by_channel is None:
            scores.reading[rows] = score[at]
        else:
            scores.reading[rows] = by_channel[at, self.stream_column[batch.stream[rows]]]
