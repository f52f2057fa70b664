"""Keeps the database below its cap: raw history goes first, then excerpts, then detail.

Alerts and gap records stay. Whatever goes is told to the cloud by a gap record of the same commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from gateway.committer import Committer
from gateway.drain import Drain
from gateway.durable.gaps import Gap, GapReason
from gateway.durable.kept import Kept
from gateway.outbox import Entry
from gateway.summary.coarsen import coarsen, readings_of
from wire.blocks import decode_summaries, encode_summaries
from wire.errors import MessageError

__all__ = ["Retention", "gaps_of", "merged"]

MERGED_BLOCKS = 16
DROPPED_AT_ONCE = 64
ROUNDS = 32


class Retention:
    """Looks at the size of the database now and then, and makes room where it must."""

    def __init__(
        self, limit_bytes: int, *, committer: Committer, drain: Drain, lose: Callable[[Gap], None]
    ) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        """Bytes in use when it last looked."""
        self._committer = committer
        self._drain = drain
        self._lose = lose

    async def enforce(self) -> None:
        """Make room until the database is below its cap, or nothing more may go."""
        for _ in range(ROUNDS):
            if await self._is_below():
                return
            if not await self._make_room():
                return
            await self._committer.settled()

    async def _is_below(self) -> bool:
        database = self._committer.database
        self.used_bytes = await self._committer.in_writer(lambda: database.used_bytes)
        return self.used_bytes <= self.limit_bytes

    async def _make_room(self) -> bool:
        database = self._committer.database
        if await self._committer.in_writer(lambda: database.prune_journal(most_bytes=0)):
            return True
        if excerpts := await self._oldest("excerpts", DROPPED_AT_ONCE):
            self._report("cap", excerpts)
            return True
        summaries = await self._oldest("summaries", MERGED_BLOCKS)
        fresh = [kept for kept in summaries if self._drain.is_unsent(kept.entry)]
        if len(fresh) > 1 and (result := merged([kept.entry for kept in fresh])):
            self._committer.change().replaced.append(result)
            self._report("merged", fresh[:-1])
            return True
        self._report("cap", summaries)
        return bool(summaries)

    async def _oldest(self, kind: str, limit: int) -> list[Kept]:
        database = self._committer.database
        return await self._committer.in_writer(lambda: database.oldest(kind, limit=limit))

    def _report(self, reason: GapReason, lost: Sequence[Kept]) -> None:
        for gap in gaps_of(reason, [kept.entry for kept in lost]):
            self._lose(gap)


def merged(entries: Sequence[Entry]) -> Entry | None:
    """Return the summaries of all entries under the number of the last, in fewer bytes.

    None where that saves nothing, or they do not fit one block.
    """
    try:
        block = coarsen([decode_summaries(entry.payload) for entry in entries])
        payload = encode_summaries(block)
    except MessageError:
        return None
    if 2 * len(payload) > sum(len(entry.payload) for entry in entries):
        return None
    last = entries[-1]
    return Entry(
        "summaries",
        last.topic,
        payload,
        epoch=last.epoch,
        seq=last.seq,
        readings=readings_of(block),
    )


def gaps_of(reason: GapReason, entries: Iterable[Entry]) -> Iterator[Gap]:
    """Yield a gap for each run of neighbouring numbers; merged ones lose no readings."""
    numbered = enumerate(entries)
    for _, run in groupby(numbered, lambda item: (item[1].epoch, item[1].seq - item[0])):
        part = [entry for _, entry in run]
        counted = tuple(entry.readings for entry in part)
        yield Gap(
            reason,
            part[0].epoch,
            part[0].seq,
            part[-1].seq,
            kind=part[0].kind,
            readings=() if reason == "merged" or not any(counted) else counted,
        )
