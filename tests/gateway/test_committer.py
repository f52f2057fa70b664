"""A commit that is on the disk is never written again, whatever happens after it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.committer import Committer, Group, Unsaved
from gateway.durable.ballast import Ballast
from gateway.durable.commit import Removed
from gateway.durable.database import Database
from gateway.durable.recovery import recover
from gateway.edge import settings_of
from gateway.errors import StorageFullError
from tests.gateway.test_replay import CONFIG, edge_of, messages


class FullWhenPruned(Database):
    """A disk that has room for the commit, and none for tidying up after it."""

    def prune_journal(self, *, most_bytes: int) -> int:
        raise StorageFullError("the disk is full")


async def test_a_disk_that_is_full_after_a_commit_does_not_repeat_it(tmp_path: Path) -> None:
    found = recover(tmp_path, lambda epoch: edge_of("bundled", epoch), settings_of(CONFIG))
    found.database.close()
    database = FullWhenPruned(found.database.path, epoch="unused")
    done: list[Removed | None] = []

    def committed(_: Group, removed: Removed | None) -> None:
        done.append(removed)

    committer = Committer(
        found.edge,
        database,
        ballast=Ballast(tmp_path / "ballast", 0),
        journal_bytes=0,
        committed=committed,
        unsaved=Unsaved(0, 0),
        commit_s=0.01,
    )
    running = asyncio.create_task(committer.run())
    found.edge.snapshot_due = True  # a commit with a snapshot is followed by tidying up
    committer.add(found.edge.take(messages(1, 1, 5), arrival_ms=0))
    committer.change().meta["note"] = "1"
    async with asyncio.timeout(10):
        await committer.settled()
    running.cancel()
    committer.close()
    assert database.last_row == len(done) == 1
    database.close()
