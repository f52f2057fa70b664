"""Collects what happened until it is worth a commit, and tells of it once it is on the disk."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TypeVar

from gateway.durable.ballast import Ballast
from gateway.durable.commit import Commit, Removed
from gateway.durable.database import Database
from gateway.edge import Edge
from gateway.errors import StorageFullError
from gateway.outbox import Entry
from wire.mqtt import Inbound, Session

__all__ = ["Committer", "Group", "Unsaved"]

log = logging.getLogger("vedette.gateway")

T = TypeVar("T")

MOST_MESSAGES = 500
FEW_MESSAGES = 8
"""With fewer no commit is hastened because the broker waits: slow traffic looks the same."""
MOST_WAITING = 1024
"""Messages that may wait for the disk before no more are taken in."""
SNAPSHOT_READINGS = 250_000
SNAPSHOT_READINGS_A_STREAM = 25
SNAPSHOT_ROWS = 20_000
RETRY_S = 1.0


class Unsaved(NamedTuple):
    """What the newest snapshot does not hold yet."""

    row: int
    """Row of the journal that it was made after."""
    readings: int
    """Readings in the rows since then."""


@dataclass(slots=True)
class Group:
    """What waits for one commit."""

    messages: int = 0
    inbound: list[tuple[Session, Inbound]] = field(default_factory=list)
    """To be acknowledged after it, in order."""
    kept: list[Entry] = field(default_factory=list)
    """Entries that it holds."""
    told: list[Entry] = field(default_factory=list)
    """Entries to be published after it that it does not hold."""
    commit: Commit = field(default_factory=Commit)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is on the disk."""

    @property
    def is_empty(self) -> bool:
        """Whether nobody waits for it."""
        return not (self.inbound or self.kept or self.told) and self.commit.is_empty


class Committer:
    """The shell around the database: one thread writes, and the loop goes on meanwhile.

    A commit comes at once when there is an alert, else after `commit_s` or 500 messages, and as
    soon as the broker can be seen to wait for acknowledgements.
    """

    def __init__(
        self,
        edge: Edge,
        database: Database,
        *,
        ballast: Ballast,
        journal_bytes: int,
        committed: Callable[[Group, Removed | None], None],
        unsaved: Unsaved,
        commit_s: float,
    ) -> None:
        self.edge = edge
        self.database = database
        self.full = False
        """Whether the disk takes nothing at present."""
        self.commits = 0
        self._ballast = ballast
        self._journal_bytes = journal_bytes
        self._committed = committed
        self._commit_s = commit_s
        self._writer = ThreadPoolExecutor(1, "storage")
        self._group = Group()
        self._writing: Group | None = None
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._snapshot_row = unsaved.row
        self._snapshot_scored = edge.ledger.scored - unsaved.readings

    def add(self, entries: Iterable[Entry], *, told: Iterable[Entry] = ()) -> None:
        """Add what a step made us publish; call it after every step."""
        group = self._group
        for entry in entries:
            (group.kept if entry.epoch else group.told).append(entry)
        group.told += told
        if any(entry.kind == "alerts" for entry in group.kept):
            self.hasten()
        else:
            self._soon()

    def acknowledge(self, session: Session, inbound: Inbound) -> None:
        """Acknowledge a batch once what it brought is on the disk."""
        group = self._group
        group.inbound.append((session, inbound))
        group.messages += len(inbound.packets)
        inbound.packets.clear()  # what they brought is in the pipeline: only their ids are owed
        stalled = group.messages >= FEW_MESSAGES and session.is_stalled
        if stalled or group.messages >= MOST_MESSAGES:
            self.hasten()
        else:
            self._soon()

    def change(self) -> Commit:
        """Return the next commit, to add changes to it that no step made."""
        self._soon()
        return self._group.commit

    def hasten(self) -> None:
        """Commit as soon as the writer is free."""
        self._due.set()

    async def room(self) -> None:
        """Wait until few enough messages wait for the disk."""
        while self._waiting >= MOST_WAITING:
            self.hasten()
            await (self._writing or self._group).done.wait()

    async def settled(self) -> None:
        """Wait until everything added so far is on the disk."""
        if not self._group.is_empty:
            self.hasten()
            await self._group.done.wait()
        elif self._writing is not None:
            await self._writing.done.wait()

    async def run(self) -> None:
        """Commit for ever; raises StorageError when the database is damaged."""
        while True:
            await self._due.wait()
            self._due.clear()
            self._stop_timer()
            group, self._group = self._group, Group()
            self._writing = group
            removed = await self._write(self._commit_of(group))
            self._writing = None
            self.commits += 1
            for session, inbound in group.inbound:
                session.acknowledge(inbound)
            self._committed(group, removed)
            group.done.set()

    async def in_writer(self, work: Callable[[], T]) -> T:
        """Run something that touches the database in its thread."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def close(self) -> None:
        """End the thread; nothing may be on its way."""
        self._writer.shutdown()

    @property
    def uncommitted_readings(self) -> int:
        """Readings in summaries that are made, and not on the disk yet."""
        groups = [self._group, *([self._writing] if self._writing else [])]
        return sum(entry.readings for group in groups for entry in group.kept)

    @property
    def _waiting(self) -> int:
        return self._group.messages + (self._writing.messages if self._writing else 0)

    def _commit_of(self, group: Group) -> Commit:
        commit = group.commit
        commit.draft = self.edge.collect(time_ms=time.time_ns() // 1_000_000)
        commit.entries = group.kept
        if self._wants_snapshot():
            commit.state = self.edge.state()
            self._snapshot_row = self.database.last_row
            self._snapshot_scored = self.edge.ledger.scored
        return commit

    def _wants_snapshot(self) -> bool:
        streams = self.edge.pipeline.directory.stream_count
        readings = max(SNAPSHOT_READINGS, SNAPSHOT_READINGS_A_STREAM * streams)
        since = self.edge.ledger.scored - self._snapshot_scored
        rows = self.database.last_row - self._snapshot_row
        return self.edge.snapshot_due or since >= readings or rows >= SNAPSHOT_ROWS

    async def _write(self, commit: Commit) -> Removed | None:
        if commit.is_empty:
            return None
        while True:
            try:
                removed = await self.in_writer(partial(self.database.commit, commit))
            except StorageFullError as error:
                await self._make_room(error)
            else:
                if commit.state is not None or self.full:
                    await self.in_writer(self._tidy)
                self._tell_full(full=False)
                return removed

    def _tidy(self) -> None:
        """Prune, and take the ballast again; what there is no room for waits for the next time."""
        try:
            self.database.prune_journal(most_bytes=self._journal_bytes)
        except StorageFullError:
            log.debug("no room to prune the journal")
        self._ballast.take()

    async def _make_room(self, error: StorageFullError) -> None:
        """Free what nobody needs and wait; meanwhile nothing is taken in or acknowledged."""
        if not self.full:
            log.error("%s; nothing is taken in until there is room", error)
        self._tell_full(full=True)
        await self.in_writer(self._free)
        await asyncio.sleep(RETRY_S)

    def _free(self) -> None:
        self._ballast.give_up()
        try:
            self.database.prune_journal(most_bytes=0)
            self.database.give_back()
        except StorageFullError:
            log.debug("not even deleting has room")

    def _tell_full(self, *, full: bool) -> None:
        if self.full and not full:
            log.warning("the disk has room again")
        self.full = full

    def _soon(self) -> None:
        if self._timer is None and not self._due.is_set():
            self._timer = asyncio.get_running_loop().call_later(self._commit_s, self.hasten)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
