"""A disk that lies about its syncs: storage may be set back, and no number may be used twice.

The head file notices where it survived; else the cloud does, which has more than was ever sent.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from gateway.durable.commit import Commit
from gateway.durable.recovery import SET_BACK, SUSPECT, Recovered
from gateway.durable.surroundings import OpenDatabase
from gateway.edge import lane_epoch
from gateway.outbox import LANES, Entry
from tests.storage.disk import Disk
from tests.storage.outcome import Outcome
from tests.storage.powercut import ARRIVAL_MS, EVERYTHING
from tests.storage.script import Script, apply, recovered
from tests.storage.shim import on_disk

__all__ = ["Cloud", "run_lost_syncs"]

LIES = 0.5
LONGEST = 600


@dataclass
class Cloud:
    """All that ever left the gateway, by number."""

    seen: dict[tuple[str, int], bytes] = field(default_factory=dict)
    tops: dict[str, int] = field(default_factory=dict)

    def take(self, entry: Entry) -> bool:
        """Take an entry in; return whether its number was free, or held the same."""
        known = self.seen.setdefault((entry.epoch, entry.seq), entry.payload)
        self.tops[entry.epoch] = max(self.tops.get(entry.epoch, 0), entry.seq)
        return known == entry.payload

    def knows_more(self, found: Recovered) -> bool:
        """Whether it has more of the present lanes than the gateway."""
        return any(
            self.tops.get(lane_epoch(found.edge.epoch, lane), 0) > found.edge.lanes[lane]
            for lane in LANES
        )


@dataclass
class LyingLife:
    """A gateway on a disk that lies, and a cloud that hears of everything that was committed."""

    folder: Path
    seed: int
    outcome: Outcome
    cloud: Cloud = field(default_factory=Cloud)
    position: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(f"lies {self.seed}")
        self.epochs = random.Random(f"epochs {self.seed}")
        self.script = Script(self.seed)
        self.place = self.folder / "0"
        self.place.mkdir(parents=True)

    def run(self, cuts: int) -> None:
        """Live until that many cuts have come."""
        for _ in range(cuts):
            cut_at = self.rng.randint(60, LONGEST)
            disk = Disk.of(self.place, self.rng, cut_at=cut_at, lies=LIES)
            with on_disk(disk) as open_database:
                found = self._recover(open_database)
                while not disk.is_cut:
                    self._commit(found, disk)
                found.database.close()
            self.outcome.figures["syncs that lied"] += disk.lied
            self.outcome.count += 1
            shutil.rmtree(self.place)
            self.place = self.folder / str(self.outcome.count)
            disk.put_into(self.place)

    def _recover(self, open_database: OpenDatabase) -> Recovered:
        """Start; where the cloud knows better, note it and start again, as the service does."""
        found = recovered(self.place, self.epochs, open_database)
        self.outcome.figures["noticed by the head or by damage"] += found.is_damaged
        if self.cloud.knows_more(found):
            found.database.close()
            (self.place / SUSPECT).write_text(SET_BACK, "ascii")
            found = recovered(self.place, self.epochs, open_database)
            self.outcome.figures["noticed by the cloud"] += 1
            self.outcome.figures["entries renamed"] += len(found.renamed)
            self._expect(not self.cloud.knows_more(found), "numbers below those of the cloud")
        for lane in LANES:
            epoch = lane_epoch(found.edge.epoch, lane)
            for kept in found.database.entries(epoch, after=0, most_bytes=EVERYTHING):
                self._expect(self.cloud.take(kept.entry), f"{epoch} {kept.entry.seq} used twice")
        return found

    def _commit(self, found: Recovered, disk: Disk) -> None:
        commit = Commit()
        for number in range(self.position, self.position + self.rng.randint(1, 4)):
            step = self.script.step(number)
            commit.entries += apply(found.edge, step, arrival_ms=ARRIVAL_MS + number)
            self.position = number + 1
        commit.draft = found.edge.collect(time_ms=self.position)
        if found.edge.snapshot_due or self.rng.random() < 0.1:
            commit.state = found.edge.state()
        if self.rng.random() < 0.2:
            lane = lane_epoch(found.edge.epoch, self.rng.choice(LANES))
            if lane in self.cloud.tops:
                commit.confirmed[lane] = self.cloud.tops[lane]
        found.database.commit(commit)
        self.script.forget(below=self.position)
        if not disk.is_cut:
            for entry in commit.entries:
                number = f"{entry.epoch} {entry.seq}"
                self._expect(self.cloud.take(entry), f"{number} used twice")

    def _expect(self, holds: object, text: str) -> None:
        where = f"seed {self.seed}, cut {self.outcome.count + 1}"
        self.outcome.expect(holds, f"{where}: {text}")


def run_lost_syncs(folder: Path, count: int, seed: int) -> Outcome:
    """Cut the power that often while half of the syncs do nothing."""
    outcome = Outcome("lostsync")
    LyingLife(folder, seed, outcome).run(count)
    return outcome
