"""Which model scores which stream, and the scores of one step."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.batch import Batch, Order
from gateway.directory import Directory
from gateway.history import History
from gateway.score.calibration import surprise
from gateway.score.scorer import Scorer

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

    row: NDArray[np.int64]
    """[assets] row in the model's tables, -1 = not covered."""
    streams: NDArray[np.int64]
    """[assets, channels]"""


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

    def bind(self, directory: Directory) -> None:
        """Match assets and streams to models by name; call when either has changed."""
        self.asset_slot = np.zeros(directory.asset_count, np.int32)
        self.stream_slot = np.zeros(directory.stream_count, np.int32)
        self.stream_column = np.zeros(directory.stream_count, np.int32)
        counted = np.zeros(directory.stream_count, np.int64)
        counted[: self.readings.size] = self.readings
        self.readings = counted
        self.scorers[0].hold(directory.stream_count)
        for slot in range(1, len(self.scorers)):
            self._bind_model(slot, directory)

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
            else:
                x = history.window(units[:, None], number[frames], rows=scorer.card.window)
            scores.reading[rows], _ = scorer.score(units, x)
            np.add.at(self.readings, units, 1)
            level = surprise(scorer.card.calibration, scores.reading[rows])
            level -= np.log10(batch.width[frames])  # Bonferroni: the most surprising of a frame
            level[self.readings[units] <= scorer.card.warmup] = 0.0
            np.maximum.at(scores.surprise, frames, level)
            np.maximum.at(scores.frame, frames, scores.reading[rows])

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
            level = surprise(scorer.card.calibration, result[0])
            scores.surprise[frames] = np.maximum(scores.surprise[frames], level)
            scores.frame[frames] = result[0]
            self._hand_down(slot, batch, scores, frames, result)

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

    def _bind_model(self, slot: int, directory: Directory) -> None:
        card = self.scorers[slot].card
        binding = _Binding(
            np.full(directory.asset_count, -1, np.int64),
            np.zeros((directory.asset_count, len(card.channels)), np.int64),
        )
        self.bindings[slot] = binding
        self.scorers[slot].hold(directory.asset_count)
        if card.any_asset:
            for asset in range(directory.asset_count):
                self._bind_asset(slot, directory, asset, 0)
            return
        for row, name in enumerate(card.assets):
            found = directory.find_asset(name)
            if found is not None:
                self._bind_asset(slot, directory, found, row)

    def _bind_asset(self, slot: int, directory: Directory, asset: int, row: int) -> None:
        known = directory.streams(asset)
        names = [channel.name for channel in self.scorers[slot].card.channels]
        if not all(name in known for name in names):
            return
        streams = [known[name] for name in names]
        self.bindings[slot].row[asset] = row
        self.bindings[slot].streams[asset] = streams
        self.asset_slot[asset] = slot
        self.stream_slot[streams] = slot
        self.stream_column[streams] = np.arange(len(streams))
