"""Step 8: which full-rate rows go up for retraining: first history, a steady sample, alerts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch
from gateway.directory import Directory
from gateway.episodes import Change
from gateway.history import History
from wire.blocks import ExcerptBlock

__all__ = ["ExcerptPlan", "Excerpts"]

HISTORY_BLOCK = 128
ALERT_ROWS = 128
MOST_NUMBERS = 200_000
"""Values of one block: what a wide asset has beyond it goes into further blocks."""


@dataclass(frozen=True, slots=True)
class ExcerptPlan:
    """Budget of each asset, in rows."""

    history_rows: int = 1024
    """First rows of an asset, sent whole so that a model can be trained at all."""
    sample_every: int = 4096
    """After that: one sample each so many rows."""
    sample_rows: int = 64
    """Length of a sample."""


@dataclass(slots=True)
class Excerpts:
    """Decides when rows are cut out of the history; order and size depend on the rows alone."""

    plan: ExcerptPlan
    due: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[assets] number of rows at which the next excerpt is cut, 0 = asset not seen."""
    sent: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """[assets] rows of history already sent, up to `history_rows`."""

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
        return cut

    def _meet(self, directory: Directory, history: History) -> None:
        self.due = grown(self.due, directory.asset_count)
        self.sent = grown(self.sent, directory.asset_count)
        if self.due[directory.asset_count - 1]:
            return
        fresh = np.flatnonzero(self.due[: directory.asset_count] == 0)
        share = (1 + directory.phase[fresh]) / 2
        if not self.plan.history_rows:
            self.due[fresh] = np.ceil(share * self.plan.sample_every).astype(np.int64)
            return
        first = np.ceil(share * min(HISTORY_BLOCK, history.rows)).astype(np.int64)
        self.due[fresh] = np.minimum(first, self.plan.history_rows)

    def _periodic(
        self, asset: int, rows: int, source: tuple[str, Directory, History]
    ) -> Iterable[ExcerptBlock]:
        if rows < self.due[asset]:
            return []  # an earlier frame of this batch has moved it on
        sent, whole = int(self.sent[asset]), self.plan.history_rows
        if sent >= whole:
            self.due[asset] = rows + self.plan.sample_every
            return _cut(asset, self.plan.sample_rows, rows, "sample", source)
        step = min(HISTORY_BLOCK, source[2].rows, whole - rows)
        self.sent[asset] = rows
        self.due[asset] = rows + (step or self.plan.sample_every)
        return _cut(asset, rows - sent, rows, "history", source)


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
