"""Step 8: which full-rate rows go up for retraining: first history, a steady sample, alerts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch
from gateway.directory import Directory
from gateway.episodes import Change
from gateway.history import STEP_FRAMES, History
from wire.blocks import ExcerptBlock

__all__ = ["ExcerptPlan", "Excerpts"]

HISTORY_BLOCK = 128
NEVER = np.iinfo(np.int64).max
ALERT_ROWS = 128
MOST_NUMBERS = 200_000
"""Values of one block: what a wide asset has beyond it goes into further blocks."""


@dataclass(frozen=True, slots=True)
class ExcerptPlan:
    """Budget of each asset, in rows."""

    history_rows: int = 1024
    """Rows of an asset, sent whole so that a model can be trained at all."""
    sample_every: int = 4096
    """After that: one sample each so many rows."""
    sample_rows: int = 64
    """Length of a sample."""
    assets_at_once: int = 128
    """Assets whose history goes up at the same time; the others wait for their turn."""


@dataclass(slots=True)
class Excerpts:
    """Decides when rows are cut out of the history; order and size depend on the rows alone."""

    plan: ExcerptPlan
    due: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[assets] number of rows at which the next excerpt is cut, 0 = asset not seen."""
    sent: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[assets] row up to which history was sent."""
    whole: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[assets] row at which its history is complete."""
    waiting: deque[int] = field(default_factory=deque)
    """Assets whose turn has not come."""
    met: int = 0
    """Assets known."""
    running: int = 0
    """Assets whose history is going up."""

    def step(
        self,
        batch: Batch,
        number: NDArray[np.int64],
        changes: Iterable[Change],
        source: tuple[str, Directory, History],
    ) -> list[ExcerptBlock]:
        """Return the excerpts that became due with these frames and alerts."""
        self._meet(source[1], source[2])
        events: list[tuple[int, Change | None]] = [
            (int(frame), None) for frame in np.flatnonzero(number + 1 >= self.due[batch.asset])
        ]
        events += [(change.frame, change) for change in changes if change.phase != "updated"]
        events.sort(key=lambda event: (event[0], event[1] is not None))
        cut: list[ExcerptBlock] = []
        for frame, change in events:
            asset, rows = int(batch.asset[frame]), int(number[frame]) + 1
            if change:
                cut.extend(_cut(asset, ALERT_ROWS, rows, "alert", source))
            else:
                cut.extend(self._periodic(asset, rows, source))
                self._hand_over(batch, frame, source)
        return cut

    def _meet(self, directory: Directory, history: History) -> None:
        """Let new assets begin at their first row, or queue them in order of appearance."""
        self.due = grown(self.due, directory.asset_count)
        self.sent = grown(self.sent, directory.asset_count)
        self.whole = grown(self.whole, directory.asset_count)
        for asset in range(self.met, directory.asset_count):
            if not self.plan.history_rows:
                share = (1 + float(directory.phase[asset])) / 2
                self.due[asset] = math.ceil(share * self.plan.sample_every)
            elif self.running < self.plan.assets_at_once:
                self._begin(asset, 0)
                first = _first_rows(asset, directory, history)
                self.due[asset] = min(first, self.plan.history_rows)
            else:
                self.waiting.append(asset)
                self.due[asset] = NEVER
        self.met = directory.asset_count

    def _begin(self, asset: int, row: int) -> None:
        self.running += 1
        self.sent[asset] = row
        self.whole[asset] = row + self.plan.history_rows

    def _hand_over(self, batch: Batch, frame: int, source: tuple[str, Directory, History]) -> None:
        """Give the turns that have become free to the next in the queue, as of this frame."""
        _, directory, history = source
        while self.waiting and self.running < self.plan.assets_at_once:
            asset = self.waiting.popleft()
            later = int((batch.asset[frame + 1 :] == asset).sum())
            row = int(history.frames[asset]) - later
            self._begin(asset, row)
            first = _first_rows(asset, directory, history)
            self.due[asset] = row + max(first, STEP_FRAMES)

    def _periodic(
        self, asset: int, rows: int, source: tuple[str, Directory, History]
    ) -> Iterable[ExcerptBlock]:
        sent, whole = int(self.sent[asset]), int(self.whole[asset])
        if rows < self.due[asset]:
            return []  # an earlier frame of this batch has moved it on
        if sent >= whole:
            self.due[asset] = rows + self.plan.sample_every
            return _cut(asset, self.plan.sample_rows, rows, "sample", source)
        step = min(HISTORY_BLOCK, source[2].rows, whole - rows)
        self.sent[asset] = rows
        self.due[asset] = rows + (step or self.plan.sample_every)
        self.running -= not step
        return _cut(asset, rows - sent, rows, "history", source)


def _first_rows(asset: int, directory: Directory, history: History) -> int:
    """Length of an asset's first piece: each has its own, so that they do not come at once."""
    share = (1 + float(directory.phase[asset])) / 2
    return math.ceil(share * min(HISTORY_BLOCK, history.rows))


def _cut(
    asset: int,
    length: int,
    end: int,
    reason: Literal["history", "sample", "alert"],
    source: tuple[str, Directory, History],
) -> Iterable[ExcerptBlock]:
    """Cut `length` rows up to row `end`; streams that have had no value yet are left out."""
    gateway, directory, history = source
    streams = directory.streams_of[asset]
    born = [column for column, stream in enumerate(streams) if history.born[stream] >= 0]
    if not born:
        return
    kept = [streams[column] for column in born]
    channels = tuple(directory.channels[asset][column] for column in born)
    most = max(MOST_NUMBERS // len(born), 1)
    for first in range(max(0, end - min(length, history.rows)), end, most):
        times_us, values = history.rows_of(asset, kept, first, min(first + most, end))
        name = directory.assets[asset]
        yield ExcerptBlock(gateway, "", 0, name, channels, reason, times_us, values)
