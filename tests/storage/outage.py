"""A gateway in event time whose cloud does not answer: edge, database and retention, no network."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gateway.batch import Batch
from gateway.config import Config, parse_config
from gateway.durable.commit import Commit
from gateway.durable.events import Taken
from gateway.durable.gaps import Gap
from gateway.durable.recovery import Recovered, recover
from gateway.edge import Edge, settings_of
from gateway.models.shelf import Shelf
from gateway.outbox import Entry
from gateway.pending import Pending
from gateway.retention import Retention
from tests.gateway.graphs import bundled, load

__all__ = ["BASE_US", "Outage"]

ASSETS, CHANNELS = 10, 10
"""One row a second of each: 100 readings a second."""
BASE_US = 1_700_000_000_000_000
STEP_S = 60
SNAPSHOT_STEPS = 12
"""Minutes between two checkpoints; the service makes one after 250,000 readings, 42 minutes."""
STEP_CHANCE = 1 / 20_000
JOURNAL_BYTES = 64_000_000
CONFIG: Config = parse_config('[gateway]\nid = "edge"', name="outage")
T = TypeVar("T")


@dataclass
class Outage:
    """Stands in for the committer, the drain and the service, as far as retention needs them."""

    folder: Path
    seed: int
    limit_bytes: int
    promised: int = 0
    """Numbers up to which bulk may have been sent before the uplink broke."""
    minutes: int = 0
    made: Counter[str] = field(default_factory=Counter)
    """Entries made so far, by kind."""
    pruned: int = 0
    """Bytes of history that the cap took."""
    most_used: int = 0

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.found = self.start()
        self.pending = Pending()
        self.group = Commit()
        self.retention = Retention(
            self.limit_bytes,
            committer=self,  # type: ignore[arg-type]
            drain=self,  # type: ignore[arg-type]
            lose=self.lose,
        )

    def start(self) -> Recovered:
        """Open the storage."""
        shelf = Shelf(load(bundled()))
        make: Callable[[str], Edge] = lambda epoch: Edge(CONFIG, shelf, epoch=epoch)  # noqa: E731
        return recover(self.folder, make, settings_of(CONFIG))

    @property
    def edge(self) -> Edge:
        return self.found.edge

    @property
    def database(self) -> Any:
        return self.found.database

    def change(self) -> Commit:
        """As the committer: the next commit."""
        return self.group

    async def settled(self) -> None:
        """As the committer: write it."""
        self.commit()

    async def in_writer(self, work: Callable[[], T]) -> T:
        """As the committer: there is one thread only."""
        before = self.database.journal_bytes
        result = work()
        self.pruned += max(before - self.database.journal_bytes, 0)
        return result

    def is_unsent(self, entry: Entry) -> bool:
        """As the drain."""
        return entry.seq > self.promised

    def lose(self, gap: Gap) -> None:
        """As the service: report and forget with the same commit."""
        self.group.dropped += [(gap.lost_epoch, seq) for seq in range(gap.first, gap.last + 1)]
        self.add([self.edge.report_gap(gap)])

    def add(self, entries: list[Entry]) -> None:
        """Keep entries with the next commit."""
        kept = [entry for entry in entries if entry.epoch]
        self.group.entries += kept
        self.made.update(entry.kind for entry in kept)

    def commit(self, *, state: bool = False) -> None:
        """Commit the group, and count as the service does."""
        commit, self.group = self.group, Commit()
        commit.draft = self.edge.collect(time_ms=BASE_US // 1000 + 60_000 * self.minutes)
        commit.state = self.edge.state() if state else None
        removed = self.database.commit(commit)
        self.pending.add(commit.entries)
        self.pending.remove(removed)
        if state:
            self.database.prune_journal(most_bytes=JOURNAL_BYTES)

    def live(self, minutes: int) -> Iterator[int]:
        """Take readings in for so long; yield after every minute."""
        for _ in range(minutes):
            self.take(self.batch())
            self.minutes += 1
            self.commit(state=self.minutes % SNAPSHOT_STEPS == 1)
            asyncio.run(self.retention.enforce())
            self.most_used = max(self.most_used, self.database.used_bytes)
            yield self.minutes

    @property
    def needed_bytes(self) -> int:
        """Bytes that a restart needs at most: two checkpoints, and the rows since the older one."""
        average = "SELECT avg(length(data)) FROM journal"
        query = f"SELECT ({average}), (SELECT max(length(data)) FROM snapshot)"
        row, snapshot = self.database._connection.execute(query).fetchone()
        return round(2 * SNAPSHOT_STEPS * row + 3 * snapshot)

    def take(self, batch: Batch) -> None:
        """Take in a batch as if it had been decoded."""
        edge = self.edge
        edge.ledger.received += batch.value.size
        edge.ledger.decoded += batch.asset.size
        edge.events.append(Taken(batch))
        self.add(edge._entries(edge.pipeline.step(batch)))
        if not self.minutes % 5:
            self.add(edge.tick())

    def batch(self) -> Batch:
        """Return a minute's readings of all assets: slow waves, noise, a jump now and then."""
        directory = self.edge.pipeline.directory
        assets = [directory.asset(f"a{number}") for number in range(ASSETS)]
        streams = [
            directory.stream(asset, f"c{number}") for asset in assets for number in range(CHANNELS)
        ]
        rows = self.minutes * STEP_S + np.arange(STEP_S)
        frames = STEP_S * ASSETS
        phase = np.arange(ASSETS * CHANNELS)
        value = 10 * np.sin(rows[:, None] / (600 + 7 * phase)) + self.rng.normal(
            0, 0.5, (STEP_S, ASSETS * CHANNELS)
        )
        jumps = self.rng.random((STEP_S, ASSETS)) < STEP_CHANCE
        value += 60 * np.repeat(jumps | np.roll(jumps, 1, axis=0), CHANNELS, axis=1)
        return Batch(
            asset=np.tile(np.array(assets, np.int32), STEP_S),
            time_us=np.repeat(BASE_US + rows * 1_000_000, ASSETS),
            width=np.full(frames, CHANNELS, np.int32),
            stream=np.tile(np.array(streams, np.int32), STEP_S),
            value=np.round(value, 3).reshape(-1),
            seq=np.repeat(rows + 1, ASSETS),
        )
