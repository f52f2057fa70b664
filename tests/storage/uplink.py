"""A cloud that comes back: it takes the backlog in over a bad line and confirms it in order."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field

from gateway.durable.commit import Commit
from gateway.outbox import Entry
from tests.storage.outage import Outage
from tests.storage.received import Received

__all__ = ["Uplink"]

LOAD_BYTES = 200_000
LOSS = 0.02


@dataclass
class Uplink:
    """The confirm protocol, as the cloud sees it: answers tell up to where nothing is missing."""

    rng: random.Random
    received: Received = field(default_factory=Received)
    known: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    """Numbers of each epoch that are there or told to be lost."""
    upto: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    lost: int = 0
    """Messages that the line lost; they came again."""

    def drain(self, outage: Outage) -> None:
        """Let everything go up, urgent lanes first."""
        database = outage.database
        while lanes := sorted(database.lanes(), key=lambda lane: not lane[0].endswith("urgent")):
            epoch = lanes[0][0]
            after = self.upto[epoch]
            for kept in database.entries(epoch, after=after, most_bytes=LOAD_BYTES):
                assert kept.sound
                self._take(kept.entry)
            outage.group = Commit(confirmed={epoch: self._answer(epoch)})
            outage.commit()

    def _take(self, entry: Entry) -> None:
        if self.rng.random() < LOSS:
            self.lost += 1
            return
        gaps = len(self.received.gaps)
        self.received.take([entry])
        self.known[entry.epoch].add(entry.seq)
        for gap in self.received.gaps[gaps:]:
            if not gap.source:
                self.known[gap.lost_epoch] |= set(range(gap.first, gap.last + 1))

    def _answer(self, epoch: str) -> int:
        while self.upto[epoch] + 1 in self.known[epoch]:
            self.upto[epoch] += 1
            self.known[epoch].discard(self.upto[epoch])
        return self.upto[epoch]
