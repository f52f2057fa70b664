"""The edge's own part of a snapshot and of a journal row: marks, packets, counters, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from gateway.batch import Batch
from gateway.decode.sources import Lost, SourceMark, Sources
from gateway.durable.events import Event
from gateway.durable.journal import JournalRow, MarkState, pack_events
from gateway.durable.snapshot import PipelineState

__all__ = ["EdgeState", "JournalDraft", "advance_marks", "mark_state", "missed"]


class EdgeState(msgspec.Struct, frozen=True, array_like=True):
    """Everything that an edge knows."""

    pipeline: PipelineState
    models: tuple[str, ...]
    """Digests of the models in service, by slot."""
    marks: tuple[MarkState, ...]
    packets: tuple[tuple[int, int], ...]
    counters: dict[str, int]
    lanes: dict[str, int]
    scored: dict[str, int]
    states: tuple[tuple[str, bytes], ...]
    """Retained states: (topic, payload)."""


@dataclass(frozen=True, slots=True)
class JournalDraft:
    """A row of the journal that is not packed yet: packing is left to another thread."""

    at: tuple[int, int]
    assets: tuple[str, ...]
    streams: tuple[tuple[int, str, str], ...]
    events: list[Event]
    marks: tuple[MarkState, ...]
    packets: tuple[tuple[int, int], ...]
    counters: dict[str, int]
    lanes: Mapping[str, int]
    scored: dict[str, int]
    time_ms: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened that a restart must know."""
        return not (self.events or self.marks or self.assets or self.streams or self.packets)

    def row(self, altered: Iterable[tuple[str, int]]) -> JournalRow:
        """Pack it, with the entries that the same commit drops or replaces."""
        return JournalRow(
            at=self.at,
            assets=self.assets,
            streams=self.streams,
            events=pack_events(self.events),
            marks=self.marks,
            packets=self.packets,
            altered=tuple(altered),
            counters=self.counters,
            lanes=dict(self.lanes),
            scored=self.scored,
            time_ms=self.time_ms,
        )


def mark_state(asset: int, mark: SourceMark) -> MarkState:
    """Return a mark as it is stored."""
    return MarkState(asset, mark.epoch, mark.seq, dict(mark.older))


def missed(sources: Sources, batch: Batch, names: Sequence[str]) -> dict[str, list[Lost]]:
    """Return, by source, what lies between its mark and its first number in the batch."""
    numbered = np.flatnonzero(batch.seq)
    assets, first = np.unique(batch.asset[numbered], return_index=True)
    lost: dict[str, list[Lost]] = {}
    for asset, seq in zip(assets.tolist(), batch.seq[numbered][first].tolist(), strict=True):
        name, mark = names[asset], sources.mark(asset)
        behind = mark.epoch and seq > mark.seq + 1
        lost[name] = [Lost(name, mark.epoch, mark.seq + 1, seq - 1)] if behind else []
    return lost


def advance_marks(sources: Sources, batch: Batch) -> None:
    """Move the marks on to the newest numbers of a batch that was taken in before."""
    numbered = np.flatnonzero(batch.seq)
    assets, back = np.unique(batch.asset[numbered][::-1], return_index=True)
    newest = batch.seq[numbered][::-1][back]
    for asset, seq in zip(assets.tolist(), newest.tolist(), strict=True):
        sources.mark(asset).seq = seq
