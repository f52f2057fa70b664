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
    """[assets] rows of history already sent."""

    def step(
        self,
        batch: Batch,
        number: NDArray[np.int64],
        changes: Iterable[Change],
        source: tuple[str, Directory, History],
    ) -> list[ExcerptBlock]:
        """Return the excerpts that became due with these frames and alerts."""
        self._meet(source[1])
        events: list[tuple[int, Change | None]] = [
            (int(frame), None) for frame in np.flatnonzero(number + 1 >= self.due[batch.asset])
        ]
        events += [(change.frame, change) for change in changes if change.phase != "updated"]
        events.sort(key=lambda event: (event[0], event[1] is not None))
        cut: list[ExcerptBlock] = []
        for frame, change in events:
            asset, rows = int(batch.asset[frame]), int(number[frame]) + 1
            if change:
                cut.append(_cut(asset, ALERT_ROWS, rows, "alert", source))
            else:
                cut.extend(self._periodic(asset, rows, source))
        return cut

    def _meet(self, directory: Directory) -> None:
        known = self.due.size
        self.due = grown(self.due, directory.asset_count)
        self.sent = grown(self.sent, directory.asset_count)
        if known < self.due.size or not self.due[directory.asset_count - 1]:
            fresh = np.flatnonzero(self.due[: directory.asset_count] == 0)
            self.due[fresh] = ((1 + directory.phase[fresh]) * HISTORY_BLOCK / 2).astype(np.int64)

    def _periodic(
        self, asset: int, rows: int, source: tuple[str, Directory, History]
    ) -> Iterable[ExcerptBlock]:
        if rows < self.due[asset]:
            return  # an earlier frame of this batch has moved it on
        if self.sent[asset] < self.plan.history_rows:
            length = rows - int(self.sent[asset])
            self.sent[asset] = rows
            last = rows >= self.plan.history_rows
            self.due[asset] = rows + (self.plan.sample_every if last else HISTORY_BLOCK)
            yield _cut(asset, length, rows, "history", source)
            return
        self.due[asset] = rows + self.plan.sample_every
        yield _cut(asset, self.plan.sample_rows, rows, "sample", source)


def _cut(
    asset: int,
    length: int,
    end: int,
    reason: Literal["history", "sample", "alert"],
    source: tuple[str, Directory, History],
) -> ExcerptBlock:
    gateway, directory, history = source
    first = max(0, end - min(length, history.rows))
    times_us, values = history.rows_of(asset, directory.streams_of[asset], first, end)
    channels = tuple(directory.channels[asset])
    return ExcerptBlock(gateway, "", 0, directory.assets[asset], channels, reason, times_us, values)
