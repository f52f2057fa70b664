"""A recording: the rows of one asset in file order, with its channels and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Channel",
    "Chunk",
    "Flags",
    "Label",
    "Recording",
    "Row",
    "joined",
    "labels_of",
    "recording_of",
]

Flags = Mapping[tuple[str, str | None], NDArray[np.bool_]]
"""(kind, channel or None for the whole asset) -> which rows carry that label."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One signal of an asset."""

    name: str
    unit: str = ""
    """Free text such as `bar`; empty when unknown."""


@dataclass(frozen=True, slots=True)
class Label:
    """A span known to be anomalous; both ends are inside it."""

    start_us: int
    """Event time in microseconds since 1970-01-01 UTC."""
    end_us: int
    """Event time in microseconds since 1970-01-01 UTC."""
    kind: str
    """What was wrong, as far as known: `anomaly`, `changepoint`, `bearing_wear`, ..."""
    channel: str | None = None
    """The one channel that the label is about, or None for the asset."""


class Row(NamedTuple):
    """All channels of one asset at one time."""

    t_us: int
    """Event time in microseconds since 1970-01-01 UTC."""
    values: list[float]
    """One value a channel, in its channel's unit; NaN = observed as missing."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of a recording as columns."""

    t_us: NDArray[np.int64]
    """[rows] event time in microseconds since 1970-01-01 UTC."""
    values: NDArray[np.float64]
    """[rows, channels] in the channels' units; NaN = observed as missing."""
    flags: Flags = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.t_us)

    def rows(self) -> Iterator[Row]:
        """Yield the rows in file order."""
        return map(Row, self.t_us.tolist(), self.values.tolist())

    def where(self, rows: NDArray[np.bool_]) -> Chunk:
        """Return the chosen rows."""
        flags = {key: flag[rows] for key, flag in self.flags.items()}
        return Chunk(self.t_us[rows], self.values[rows], flags)


@dataclass(frozen=True)
class Recording:
    """One asset's recorded rows; reading starts anew with each call of `chunks` or `rows`."""

    asset: str
    """Name in topics: `[A-Za-z0-9._-]{1,64}`."""
    channels: tuple[Channel, ...]
    read: Callable[[], Iterator[Chunk]] = field(repr=False)
    """Opens the recording and yields its chunks; event time is kept, in file order."""
    origin: str = ""
    """Where it came from: the path relative to the opened folder, or the simulator's rig."""
    given_labels: tuple[Label, ...] | None = field(default=None, repr=False)
    """Labels from beside the recording; None = take them from the rows' flags."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield all rows as columns; raise RecordingError on a row that cannot be read."""
        return self.read()

    def rows(self) -> Iterator[Row]:
        """Yield all rows in file order; raise RecordingError on a row that cannot be read."""
        return chain.from_iterable(chunk.rows() for chunk in self.read())

    def whole(self) -> Chunk:
        """Return all rows as one chunk (8 bytes a value in memory)."""
        chunks = list(self.read())
        return joined(chunks, channel_count=len(self.channels))

    @cached_property
    def row_count(self) -> int:
        """Number of rows; the first access reads the recording once."""
        return sum(len(chunk) for chunk in self.read())

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """Known anomalous spans by start; without given ones the first access reads the rows."""
        found = self.given_labels
        return labels_of(self.whole()) if found is None else found


def recording_of(
    chunk: Chunk,
    *,
    asset: str,
    channels: tuple[Channel, ...],
    origin: str,
    labels: tuple[Label, ...] | None = None,
) -> Recording:
    """Return a recording whose rows are in memory."""
    return Recording(asset, channels, lambda: iter([chunk]), origin, labels)


def joined(chunks: list[Chunk], *, channel_count: int) -> Chunk:
    """Return the chunks' rows as one chunk; a flag that a chunk lacks is false there."""
    if not chunks:
        return Chunk(np.empty(0, np.int64), np.empty((0, channel_count)))
    keys = dict.fromkeys(key for chunk in chunks for key in chunk.flags)
    return Chunk(
        np.concatenate([chunk.t_us for chunk in chunks]),
        np.concatenate([chunk.values for chunk in chunks]),
        {key: np.concatenate([flagged(chunk, key) for chunk in chunks]) for key in keys},
    )


def flagged(chunk: Chunk, key: tuple[str, str | None]) -> NDArray[np.bool_]:
    """Return which rows of the chunk carry the label."""
    return chunk.flags.get(key, np.zeros(len(chunk), np.bool_))


def labels_of(chunk: Chunk) -> tuple[Label, ...]:
    """Return one label for each run of consecutive flagged rows, by start."""
    found = [
        Label(int(chunk.t_us[first]), int(chunk.t_us[last]), kind, channel)
        for (kind, channel), flags in chunk.flags.items()
        for first, last in runs(flags)
    ]
    return tuple(sorted(found, key=lambda label: (label.start_us, label.end_us, label.kind)))


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, last) row of each run of true rows."""
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    firsts = np.flatnonzero(edges == 1).tolist()
    lasts = (np.flatnonzero(edges == -1) - 1).tolist()
    return list(zip(firsts, lasts, strict=True))
