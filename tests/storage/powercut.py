"""One gateway's life with many power cuts, beside one that never has any."""

from __future__ import annotations

import contextlib
import itertools
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.durable.commit import Commit
from gateway.durable.database import Database
from gateway.durable.recovery import Recovered
from gateway.durable.snapshot import encode_state
from gateway.edge import Edge, lane_epoch
from gateway.outbox import LANES, Entry
from tests.storage.disk import Disk
from tests.storage.outcome import Outcome
from tests.storage.script import Script, apply, new_edge, recovered
from tests.storage.shim import NO_CHANGES, on_disk

__all__ = ["Life", "run_power_cuts"]

ARRIVAL_MS = 1.7e12
EVERYTHING = 1 << 62
LONGEST = 1000
"""Operations of the disk between two cuts, at most."""
SETTLED = 12
"""Commits after which a cut comes at the latest."""


@dataclass
class Twin:
    """A gateway that never crashed, as far as the other has come."""

    edge: Edge
    position: int = 0
    """Steps that have happened."""
    row: int = 0
    """Commits that have happened."""
    entries: dict[tuple[str, int], Entry] = field(default_factory=dict)
    confirmed: dict[str, int] = field(default_factory=dict)

    def follow(self, script: Script, upto: int, commit: Commit) -> None:
        """Let the steps of a commit happen here too."""
        for number in range(self.position, upto):
            for entry in apply(self.edge, script.step(number), arrival_ms=ARRIVAL_MS + number):
                self.entries[entry.epoch, entry.seq] = entry
        self.edge.collect(time_ms=0)
        self.position, self.row = upto, self.row + 1
        self.confirmed |= commit.confirmed
        for epoch, seq in list(self.entries):
            if seq <= self.confirmed.get(epoch, 0):
                del self.entries[epoch, seq]


@dataclass
class Life:
    """A gateway on disks that lose power, and what it has acknowledged."""

    folder: Path
    seed: int
    outcome: Outcome
    changes: Mapping[str, str] = field(default_factory=dict)
    """Pragmas that are planted."""
    flight: tuple[int, Commit] | None = None
    """The commit that the cut may have met: (position after it, what it holds)."""

    def __post_init__(self) -> None:
        self.rng = random.Random(f"power {self.seed}")
        self.epochs = random.Random(f"epochs {self.seed}")
        self.script = Script(self.seed)
        self.twin = Twin(new_edge("none"))
        self.places = (self.folder / f"{number}" for number in itertools.count())
        self.place = next(self.places)
        self.place.mkdir(parents=True)

    def run(self, cuts: int) -> None:
        """Live until that many cuts have come, then compare everything."""
        for _ in range(cuts):
            disk = self._until_cut()
            self._change_place(disk)
            self._inspect()
            self.outcome.count += 1
            if self.outcome.findings:
                return
        self._compare_whole()

    def _until_cut(self) -> Disk:
        cut_at = round(LONGEST ** self.rng.random())
        disk = Disk.of(self.place, self.rng, cut_at=cut_at)
        with on_disk(disk, self.changes) as open_database:
            found = recovered(self.place, self.epochs, open_database)
            for _ in range(SETTLED * LONGEST):
                if disk.is_cut:
                    break
                self._commit(found, disk)
            found.database.close()
        disk.cut()
        self.outcome.figures["operations"] += disk.operations
        return disk

    def _commit(self, found: Recovered, disk: Disk) -> None:
        """Let a few steps happen and commit them; a cut ends it anywhere."""
        if self.twin.edge.epoch != found.database.epoch:
            if not self.outcome.expect(not self.twin.row, "the database began anew"):
                disk.cut()
                return
            self.twin = Twin(new_edge(found.database.epoch))
        edge, position = found.edge, self.twin.position + self.rng.randint(1, 4)
        commit = Commit()
        for number in range(self.twin.position, position):
            step = self.script.step(number)
            commit.entries += apply(edge, step, arrival_ms=ARRIVAL_MS + number)
        commit.draft = edge.collect(time_ms=position)
        if commit.draft.is_empty:
            self.twin.follow(self.script, position, commit)
            self.twin.row -= 1
            return
        self._add_changes(found, commit)
        self.flight = position, commit
        found.database.commit(commit)
        if not disk.is_cut:
            self._acknowledge()
            self._tidy(found.database)

    def _add_changes(self, found: Recovered, commit: Commit) -> None:
        """Now and then the cloud confirms, and a checkpoint is due."""
        if self.rng.random() < 0.3:
            lane = lane_epoch(found.edge.epoch, self.rng.choice(LANES))
            waiting = [seq for epoch, seq in self.twin.entries if epoch == lane]
            if waiting:
                commit.confirmed[lane] = self.rng.choice(waiting)
        if found.edge.snapshot_due or self.rng.random() < 0.1:
            commit.state = found.edge.state()

    def _acknowledge(self) -> None:
        assert self.flight is not None
        self.twin.follow(self.script, *self.flight)
        self.outcome.figures["acknowledged"] += 1
        self.script.forget(below=self.twin.position)
        self.flight = None

    def _tidy(self, database: Database) -> None:
        if self.rng.random() < 0.05:
            database.prune_journal(most_bytes=self.rng.choice((0, 50_000)))
        if self.rng.random() < 0.03:
            database.give_back()

    def _change_place(self, disk: Disk) -> None:
        shutil.rmtree(self.place)
        self.place = next(self.places)
        disk.put_into(self.place)

    def _inspect(self) -> None:
        """Recover a copy with the real SQLite, and compare it with the twin."""
        copy = self.folder / "copy"
        shutil.copytree(self.place, copy)
        try:
            found = recovered(copy, self.epochs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            self.outcome.expect(holds=False, text=f"{self._where}: unreadable: {error!r}")
        else:
            with contextlib.closing(found.database):
                self._compare(found)
        shutil.rmtree(copy)

    @property
    def _where(self) -> str:
        return f"seed {self.seed}, cut {self.outcome.count + 1}"

    def _compare(self, found: Recovered) -> None:
        row = found.database.last_row
        if self.flight is not None and row == self.twin.row + 1:
            self.outcome.figures["in flight, and there"] += 1
            self.twin.follow(self.script, *self.flight)
        self.flight = None
        for fault in found.faults:
            self.outcome.expect(holds=False, text=f"{self._where}: damaged: {fault}")
        if self.twin.row:
            lost = self.twin.row - row
            self.outcome.expect(lost == 0, f"{self._where}: {lost} acknowledged commits are lost")
            self.outcome.expect(not found.restored, f"{self._where}: entries had gone")
            self.outcome.findings += [
                f"{self._where}: {text}" for text in differences(found, self.twin)
            ]
        self.outcome.figures["replayed readings"] += found.readings

    def _compare_whole(self) -> None:
        """Let both end everything that is open."""
        found = recovered(self.place, self.epochs)
        with contextlib.closing(found.database):
            ended = [
                [entry.payload for some in edge.flush() for entry in some]
                for edge in (found.edge, self.twin.edge)
            ]
        self.outcome.expect(ended[0] == ended[1], f"seed {self.seed}: open summaries differ")
        self.outcome.figures["readings"] += found.edge.ledger.scored


def differences(found: Recovered, twin: Twin) -> list[str]:
    """Say in words in what a recovered gateway differs from one that never crashed."""
    database, texts = found.database, []
    if encode_state(found.edge.state()) != encode_state(twin.edge.state()):
        texts.append(f"state differs: {difference_of_state(found.edge, twin.edge)}")
    if database.confirmed != twin.confirmed:
        texts.append(f"confirmed {database.confirmed}, expected {twin.confirmed}")
    held = {
        (kept.entry.epoch, kept.entry.seq): kept.entry
        for epoch, *_ in database.lanes()
        for kept in database.entries(epoch, after=0, most_bytes=EVERYTHING)
    }
    if held != twin.entries:
        other = sorted(held.items() ^ twin.entries.items(), key=lambda item: item[0])
        texts.append(f"outbox differs in {[key for key, _ in other][:5]}")
    return texts


def difference_of_state(one: Edge, other: Edge) -> list[str]:
    """Name the parts of the state that differ."""
    pairs = zip(one.state().__struct_fields__, states(one, other), strict=True)
    return [name for name, (left, right) in pairs if left != right]


def states(one: Edge, other: Edge) -> list[tuple[str, str]]:
    """Return each part of both states as text."""
    names = one.state().__struct_fields__
    left, right = one.state(), other.state()
    return [(repr(getattr(left, name)), repr(getattr(right, name))) for name in names]


def run_power_cuts(
    folder: Path, count: int, seed: int, changes: Mapping[str, str] = NO_CHANGES
) -> Outcome:
    """Cut the power that often in the life of one gateway."""
    outcome = Outcome("powercut")
    Life(folder, seed, outcome, changes).run(count)
    return outcome
