"""Damages one state file of a gateway, and holds it to account for everything it had."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gateway.durable.ballast import Ballast
from gateway.durable.commit import Commit
from gateway.durable.gaps import Gap
from gateway.durable.recovery import SUSPECT, Recovered, recover
from gateway.durable.surroundings import CHECKED_BYTES, Surroundings
from gateway.edge import Edge, lane_epoch, settings_of
from gateway.errors import StorageError
from gateway.models.shelf import open_shelf_blocking
from gateway.outbox import LANES, Entry
from tests.gateway.graphs import magnitude
from tests.storage.damage import damage
from tests.storage.outcome import Outcome
from tests.storage.received import Account, Received, Span, spans_of
from tests.storage.script import CHANNELS, CONFIG, Step, apply, source_message
from wire.messages import ConfirmRequest

__all__ = ["run_damages"]

EVERYTHING = 1 << 62
SOURCES = 3
TARGETS = ("gateway.sqlite", "gateway.sqlite-wal", "gateway.head", "ballast", "m.onnx")
WEIGHTS = (5, 5, 2, 1, 1)
BALLAST_BYTES = 100_000
MOST_COMMITS = 30
MOST_STARTS = 3
"""As often as the gateway's process starts itself again."""


@dataclass
class Site:
    """A gateway's folder, its sources, which keep what is not confirmed, and its cloud."""

    folder: Path
    rng: random.Random
    produced: Counter[int] = field(default_factory=Counter)
    """Rows of each source."""
    confirmed: Counter[int] = field(default_factory=Counter)
    """Rows of each source that the gateway has confirmed: the source has forgotten them."""
    made: dict[tuple[str, int], Entry] = field(default_factory=dict)
    """Every entry that was ever committed."""
    cloud: Received = field(default_factory=Received)
    answered: Counter[str] = field(default_factory=Counter)
    """What the cloud has confirmed, by epoch."""

    checked_bytes: int = CHECKED_BYTES
    """Files up to this size are checked whole at a start."""

    @property
    def storage(self) -> Path:
        return self.folder / "data"

    def start(self) -> Recovered:
        """Recover as a start of the service does."""
        shelf = open_shelf_blocking(self.folder / "models", most_rows=CONFIG.summaries.most_rows)
        return recover(
            self.storage,
            lambda epoch: Edge(CONFIG, shelf, epoch=epoch),
            settings_of(CONFIG),
            surroundings=Surroundings(checked_bytes=self.checked_bytes),
        )

    def note_present(self, found: Recovered) -> None:
        """Note what a recovery committed by itself."""
        for lane in LANES:
            epoch = lane_epoch(found.edge.epoch, lane)
            for kept in found.database.entries(epoch, after=0, most_bytes=EVERYTHING):
                if kept.sound:
                    self.made.setdefault((epoch, kept.entry.seq), kept.entry)

    def work(self, found: Recovered, commits: int) -> None:
        """Let the sources produce, and the gateway commit and drain now and then."""
        for number in range(commits):
            self.take_rows(found, self.rng.randint(1, 30))
            kind = self.rng.choices(("none", "tick", "flush"), (80, 15, 5))[0]
            entries = [] if kind == "none" else apply(found.edge, Step(kind), arrival_ms=0)
            self.commit(found, entries, state=not number or self.rng.random() < 0.1)
            if self.rng.random() < 0.1:
                found.database.prune_journal(most_bytes=0)

    def take_rows(self, found: Recovered, rows: int) -> None:
        """Take in new rows, and commit them."""
        messages = []
        for _ in range(rows):
            source = self.rng.randrange(SOURCES)
            self.produced[source] += 1
            messages.append(source_message(source, self.produced[source], kept=True))
        entries = apply(found.edge, Step("take", tuple(messages)), arrival_ms=0)
        self.commit(found, entries, state=False)
        self.confirmed = Counter(self.produced)

    def commit(self, found: Recovered, entries: list[Entry], *, state: bool) -> None:
        """Commit; afterwards a part of what waits goes up, and some of that is confirmed."""
        edge = found.edge
        draft = edge.collect(time_ms=1_700_000_000_000)
        commit = Commit(draft, entries, state=edge.state() if state else None)
        if self.rng.random() < 0.2:
            for lane in LANES:
                epoch = lane_epoch(edge.epoch, lane)
                held = [seq for other, seq in self.cloud.entries if other == epoch]
                if held:
                    commit.confirmed[epoch] = self.answered[epoch] = max(held)
        found.database.commit(commit)
        self.made |= {(entry.epoch, entry.seq): entry for entry in entries}
        if self.rng.random() < 0.2:
            self.send_up(edge)

    def send_up(self, edge: Edge) -> None:
        """Let everything committed so far reach the cloud."""
        epochs = {lane_epoch(edge.epoch, lane) for lane in LANES}
        self.cloud.take(entry for key, entry in self.made.items() if key[0] in epochs)

    def end(self, found: Recovered, *, is_clean: bool) -> None:
        """Leave the files as a clean end does, or as a kill does."""
        copy = self.folder / "copy"
        if not is_clean:
            shutil.copytree(self.storage, copy)
        found.database.close()
        if not is_clean:
            shutil.rmtree(self.storage)
            copy.rename(self.storage)


@dataclass
class Case:
    """One damage, from the first commit to the last account."""

    site: Site
    outcome: Outcome
    name: str
    what: str = ""

    def run(self) -> None:
        """Work, damage, recover, go on, and account for all."""
        site, rng = self.site, self.site.rng
        target = rng.choices(TARGETS, WEIGHTS)[0]
        self._prepare(target)
        with contextlib.closing(site.start().database) as database:
            assert not database.last_row
        found = site.start()
        site.work(found, rng.randint(3, MOST_COMMITS))
        before = (found.edge.epoch, dict(found.edge.lanes))
        is_clean = rng.random() < 0.4 and not target.endswith("-wal")
        site.end(found, is_clean=is_clean)
        path = site.folder / ("models" if target == "m.onnx" else "data") / target
        self.what = f"{damage(path, rng)}{' after a clean end' if is_clean else ''}"
        site.checked_bytes = CHECKED_BYTES if rng.random() < 0.5 else -1
        try:
            self._go_on(*before)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            self._expect(holds=False, text=f"did not come up: {error!r}")

    def _prepare(self, target: str) -> None:
        storage = self.site.storage
        storage.mkdir(parents=True)
        models = self.site.folder / "models"
        models.mkdir()
        if target == "m.onnx":
            (models / target).write_bytes(magnitude(window=3).data)
        Ballast(storage / "ballast", BALLAST_BYTES).take()

    def _go_on(self, epoch: str, lanes: dict[str, int]) -> None:
        """Recover, hear the sources out, let everything go up; where damage shows, start again."""
        found = self.site.start()
        self._look(found, epoch, lanes)
        starts = 1
        while not self._serve(found):
            starts += 1
            if not self._expect(starts <= MOST_STARTS, "does not come to work"):
                return
            self.outcome.figures["started again"] += 1
            (self.site.storage / SUSPECT).touch()
            found = self.site.start()
        for lane in lanes:
            self._account_numbers(f"{epoch}-{lane}")
        self._account_readings()

    def _serve(self, found: Recovered) -> bool:
        """Return whether all went well until everything had gone up."""
        try:
            self.site.note_present(found)
            self._hear(found)
            self._drain(found)
        except StorageError:
            return False
        finally:
            found.database.close()
        return True

    def _look(self, found: Recovered, epoch: str, lanes: dict[str, int]) -> None:
        self.outcome.figures["damages noticed"] += found.is_damaged
        for fault in found.faults:
            if "put aside as" in fault:
                aside = fault.split("put aside as ")[1].split(",")[0]
                self._expect((self.site.storage / aside).exists(), f"{aside} was not kept")
        if found.edge.epoch == epoch:
            same = found.edge.lanes == lanes
            self._expect(same, f"goes on at {dict(found.edge.lanes)} instead of {lanes}")
        Ballast(self.site.storage / "ballast", BALLAST_BYTES).take()
        size = (self.site.storage / "ballast").stat().st_size
        self._expect(size == BALLAST_BYTES, "the ballast is not there")

    def _hear(self, found: Recovered) -> None:
        site, edge, entries = self.site, found.edge, []
        for source in range(SOURCES):
            if not site.produced[source]:
                continue
            first = site.confirmed[source] + 1
            request = ConfirmRequest(
                sender=f"s{source}", epoch="e1", first=first, last=site.produced[source]
            )
            entries += edge.confirm(request)[1]
        site.commit(found, entries, state=False)
        site.take_rows(found, 60)
        site.commit(found, apply(edge, Step("flush"), arrival_ms=0), state=True)

    def _drain(self, found: Recovered) -> None:
        """Send everything that is sound, and report what is not."""
        database, gaps = found.database, []
        for epoch, *_ in database.lanes():
            for kept in database.entries(epoch, after=0, most_bytes=EVERYTHING):
                number = (kept.entry.epoch, kept.entry.seq)
                if not kept.sound:
                    gaps.append(found.edge.report_gap(Gap("corrupt", epoch, number[1], number[1])))
                    continue
                was = self.site.made.get(number, kept.entry)
                self._expect(was == kept.entry, f"{number} is not what it was")
                self.site.cloud.take([kept.entry])
        self.site.cloud.take(gaps)

    def _account_numbers(self, name: str) -> None:
        """Each number of a lane is in the cloud, or in exactly one gap record."""
        last = max((seq for epoch, seq in self.site.made if epoch == name), default=0)
        told = Counter(self.site.cloud.told(name))
        there = {seq for epoch, seq in self.site.cloud.entries if epoch == name}
        for seq in range(1, last + 1):
            times = told[seq]
            self._expect(seq in there or times, f"{name} {seq} is gone, and nobody tells")
            self._expect(times < 2, f"{name} {seq} is told to be lost {times} times")
        self.outcome.figures["entries lost"] += len(told.keys() - there)
        self.outcome.figures["entries told lost that the cloud has"] += len(told.keys() & there)
        beyond = [seq for seq in told if seq > last]
        self._expect(not beyond, f"{name} {beyond[:3]} never were, and are told to be lost")

    def _account_readings(self) -> None:
        cloud, site = self.site.cloud, self.site
        stored = list(cloud.spans())
        lost = [
            entry
            for (epoch, seq), entry in site.made.items()
            if entry.kind == "summaries" and (epoch, seq) not in cloud.entries
        ]
        reported = [span for entry in lost for span in spans_of(entry)]
        for source, rows in site.produced.items():
            for channel in range(CHANNELS):
                self._account_stream((f"s{source}", f"c{channel}"), rows, stored, reported)

    def _account_stream(
        self, stream: tuple[str, str], rows: int, stored: list[Span], reported: list[Span]
    ) -> None:
        """Behind a hole in the journal summaries end elsewhere than they did.

        So as many readings as fell into the hole may be told lost that are stored, and others be
        lost instead: the count of a gap is right or too high, its place may be beside the loss.
        """
        account = Account.of(
            rows,
            [span for span in stored if span.stream == stream],
            [span for span in reported if span.stream == stream],
            [gap for gap in self.site.cloud.gaps if gap.source == stream[0]],
        )
        figures = self.outcome.figures
        figures["readings"] += rows
        figures["readings lost beside what is told"] += account.silent
        figures["readings counted twice"] += account.twice
        figures["readings told lost"] += int(account.told[1:].sum())
        figures["readings told lost that are stored"] += account.excess
        silent = account.silent - account.excess
        self._expect(silent <= 0, f"{stream}: {silent} readings lost in silence")

    def _expect(self, holds: object, text: str) -> bool:
        return self.outcome.expect(holds, f"{self.name}, {self.what}: {text}")


def run_damages(folder: Path, count: int, seed: int) -> Outcome:
    """Damage so many gateways."""
    outcome = Outcome("corrupt")
    for number in range(count):
        place = folder / str(number)
        rng = random.Random(f"damage {seed} {number}")
        Case(Site(place, rng), outcome, f"seed {seed}, case {number}").run()
        shutil.rmtree(place)
        outcome.count += 1
    return outcome
