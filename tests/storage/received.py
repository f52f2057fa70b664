"""What a cloud has of a gateway, and which readings nobody has told of: row by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gateway.outbox import Entry
from tests.chaos.waves import BASE_MS
from wire.blocks import decode_summaries
from wire.codec import decode_json
from wire.messages import GapMessage

__all__ = ["Account", "Received", "Span", "spans_of"]

STEP_US = 1_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """One summary: rows first..last of a stream, of which it counts so many."""

    stream: tuple[str, str]
    first: int
    last: int
    count: int


def spans_of(entry: Entry) -> Iterator[Span]:
    """Yield the summaries of a block."""
    block = decode_summaries(entry.payload)
    rows = block.rows
    columns = (rows.asset, rows.channel, rows.start_us, rows.end_us, rows.count)
    for asset, channel, start_us, end_us, count in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        stream = (block.assets[asset], block.channels[channel])
        yield Span(stream, row_of(start_us), row_of(end_us), count)


def row_of(time_us: int) -> int:
    """Return the row that was produced at a time."""
    return round((time_us - BASE_MS * 1000) / STEP_US)


@dataclass
class Received:
    """Entries by number, and the gap records among them."""

    entries: dict[tuple[str, int], Entry] = field(default_factory=dict)
    gaps: list[GapMessage] = field(default_factory=list)

    def take(self, entries: Iterable[Entry]) -> None:
        """Take in entries; what is known already is ignored, as a cloud does."""
        for entry in entries:
            if (entry.epoch, entry.seq) not in self.entries:
                self.entries[entry.epoch, entry.seq] = entry
                if entry.kind == "gaps":
                    self.gaps.append(decode_json(entry.payload, GapMessage))

    def told(self, epoch: str) -> list[int]:
        """Return every number of an epoch that a gap record tells of, as often as one does."""
        ours = [gap for gap in self.gaps if gap.lost_epoch == epoch]
        return [seq for gap in ours for seq in range(gap.first, gap.last + 1)]

    def spans(self) -> Iterator[Span]:
        """Yield all summaries."""
        for entry in self.entries.values():
            if entry.kind == "summaries":
                yield from spans_of(entry)


@dataclass
class Account:
    """Rows of one stream, from 1: how often each is stored, and whether a gap tells of it."""

    stored: NDArray[np.int64]
    told: NDArray[np.bool_]
    holes: int = 0
    """Rows inside of summaries that these do not count, and no gap tells of."""

    @classmethod
    def of(
        cls, rows: int, stored: list[Span], reported: list[Span], gaps: list[GapMessage]
    ) -> Account:
        """Count; `reported` are the summaries that are lost and told of."""
        account = cls(np.zeros(rows + 1, np.int64), np.zeros(rows + 1, np.bool_))
        for gap in gaps:
            account.told[gap.first : gap.last + 1] = True
        for span in reported:
            account.told[span.first : span.last + 1] = True
        for span in stored:
            account.stored[span.first : span.last + 1] += 1
            told = int(account.told[span.first : span.last + 1].sum())
            account.holes += max(span.last - span.first + 1 - span.count - told, 0)
        return account

    @property
    def silent(self) -> int:
        """Rows that are nowhere, and that nobody tells of."""
        return int(((self.stored == 0) & ~self.told)[1:].sum()) + self.holes

    @property
    def twice(self) -> int:
        """Rows that more than one summary spans."""
        return int((self.stored > 1).sum())

    @property
    def excess(self) -> int:
        """Rows that are told to be lost and are stored all the same."""
        return int(((self.stored > 0) & self.told).sum())
