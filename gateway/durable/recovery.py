"""From what is on the disk to a gateway that goes on where the last commit left it.

The newest sound snapshot is loaded and the journal since then run through the same pipeline.
Damage is put aside, and what is lost by it becomes gap records with exact numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway.durable.commit import Commit
from gateway.durable.database import Database
from gateway.durable.edgestate import EdgeState
from gateway.durable.gaps import Gap, gap_of_hole
from gateway.durable.journal import JournalRow, decode_row
from gateway.durable.salvage import salvage
from gateway.durable.snapshot import decode_state
from gateway.durable.surroundings import REAL, Surroundings
from gateway.edge import Edge, lane_epoch
from gateway.errors import (
    StorageBusyError,
    StorageError,
    StorageFullError,
    StorageVersionError,
)
from gateway.outbox import LANES, Entry
from gateway.pipeline import PipelineSettings

__all__ = ["DATABASE", "Recovered", "recover"]

DATABASE = "gateway.sqlite"
SUSPECT = "gateway.suspect"
"""Name of the file that says that an error was seen."""
SET_BACK = "set back"
"""What stands in it when the cloud has more than this gateway ever sent."""
EVERYTHING = 1 << 62


@dataclass(slots=True)
class Recovered:
    """What a start found."""

    database: Database
    edge: Edge
    surroundings: Surroundings
    readings: int = 0
    """Readings of the journal that were run again."""
    snapshot_row: int = 0
    """Row of the journal after which the snapshot was made that was loaded."""
    faults: list[str] = field(default_factory=list)
    """What was damaged, in words."""
    gaps: list[Gap] = field(default_factory=list)
    made: list[Entry] = field(default_factory=list)
    """Entries that the replay made again, as far as it can be trusted to be exact."""
    altered: set[tuple[str, int]] = field(default_factory=set)
    """(epoch, seq) of entries that were dropped or replaced since the snapshot."""
    restored: list[Entry] = field(default_factory=list)
    """Those of `made` that had gone from the outbox."""
    renamed: list[Entry] = field(default_factory=list)
    """Entries whose numbers the cloud has given to others already."""

    @property
    def is_damaged(self) -> bool:
        """Whether anything was not as it was written."""
        return bool(self.faults)


def recover(
    folder: Path,
    make_edge: Callable[[str], Edge],
    settings: PipelineSettings,
    *,
    surroundings: Surroundings = REAL,
) -> Recovered:
    """Open the database below `folder` and bring an edge, made for its epoch, to where it was.

    From there it goes on by `settings`; what was journalled is run by those of its time.

    Raises StorageBusyError when another gateway has it, StorageVersionError where another version
    of the software made it, StorageFullError, OSError when the folder cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    database = _open_sound(folder / DATABASE, faults, surroundings)

    def go_on() -> Recovered:
        edge = make_edge(database.epoch)
        found = _go_on(Recovered(database, edge, surroundings, faults=faults), make_edge)
        _finish(found, settings)
        return found

    try:
        found = go_on()
    except StorageFullError:
        database.close()
        raise
    except StorageError as error:  # what no check had found
        database.close()
        database = _salvaged(database.path, error, faults, surroundings, epoch=database.epoch)
        found = go_on()
    (folder / SUSPECT).unlink(missing_ok=True)
    return found


def _finish(found: Recovered, settings: PipelineSettings) -> None:
    meta = _mend(found) if found.is_damaged else {}
    found.restored += found.edge.adopt(settings)
    _settle(found, meta)


def _open_sound(path: Path, faults: list[str], surroundings: Surroundings) -> Database:
    epoch = surroundings.new_epoch()
    suspect = path.with_name(SUSPECT).exists()
    try:
        database = surroundings.open_database(path, epoch=epoch)
        try:
            if suspect or path.stat().st_size <= surroundings.checked_bytes:
                database.check()
        except BaseException:
            database.close()
            raise
    except (StorageBusyError, StorageVersionError):
        raise
    except StorageError as error:
        database = _salvaged(path, error, faults, surroundings, epoch=epoch)
    return database


def _salvaged(
    path: Path, error: StorageError, faults: list[str], surroundings: Surroundings, *, epoch: str
) -> Database:
    database, aside = salvage(path, epoch=epoch, open_database=surroundings.open_database)
    faults.append(f"{error}; put aside as {aside.name}, sound rows taken over")
    return database


def _go_on(found: Recovered, make_edge: Callable[[str], Edge]) -> Recovered:
    """Read everything that a start must know."""
    _load(found, make_edge)
    _compare(found)
    if _was_set_back(found.database.path):
        found.faults.append("the cloud has more of this storage than there is: it was set back")
        found.renamed = _present_entries(found)
    return found


def _load(found: Recovered, make_edge: Callable[[str], Edge]) -> None:
    """Load the newest sound snapshot, then run the journal since then."""
    database, start = found.database, 0
    for number, data in database.snapshots():
        try:
            found.edge.restore(decode_state(data, EdgeState))
        except StorageError as error:
            found.faults.append(f"snapshot {number}: {error}")
            found.edge = make_edge(database.epoch)
        else:
            start = found.snapshot_row = number
            break
    try:
        for part, hole in _runs(database, start, found.faults):
            _replay(found, part, hole=hole)
    except StorageError as error:
        found.faults.append(str(error))
    except Exception as error:  # noqa: BLE001 - whatever the journal does, the gateway must come up
        found.faults.append(f"the journal could not be run again: {error!r}")
    exact = [entry for entry in found.made if (entry.epoch, entry.seq) not in found.altered]
    found.restored += database.missing(exact)


def _replay(found: Recovered, part: list[JournalRow], *, hole: bool) -> None:
    if hole:
        found.gaps += map(gap_of_hole, found.edge.bridge(part))
        found.edge.is_faithful = False
    made = found.edge.replay(part)
    found.readings += sum(_readings_of(row) for row in part)
    found.altered.update(*(row.altered for row in part))
    if found.edge.is_faithful:
        found.made += made


def _runs(
    database: Database, start: int, faults: list[str]
) -> Iterator[tuple[list[JournalRow], bool]]:
    """Yield runs of sound rows behind `start`, and whether something is missing before each."""
    part: list[JournalRow] = []
    expected, hole = start + 1, False
    for stored in database.rows(after=start):
        try:
            row = decode_row(stored.data)
        except StorageError as error:
            faults.append(f"row {stored.number} of the journal: {error}")
            continue
        if stored.number != expected:
            if part:
                yield part, hole
            faults.append(f"rows {expected} to {stored.number - 1} of the journal are missing")
            part, hole = [], True
        part.append(row)
        expected = stored.number + 1
    if part:
        yield part, hole


def _compare(found: Recovered) -> None:
    """Hold the database against its second witness."""
    database, head = found.database, found.database.read_head()
    if head is not None and head.row > database.last_row:
        found.faults.append(
            f"{database.path}: expected the commit {head.row}, got {database.last_row}: "
            "the file was set back"
        )


def _mend(found: Recovered) -> dict[str, str]:
    """Begin a new epoch, and note the messages of the old one that are gone.

    Where the head tells of a later epoch than the database, those of that one are gone too.
    """
    database, edge, head = found.database, found.edge, found.database.read_head()
    lasts = {database.epoch: dict(edge.lanes)}
    if head is not None and (head.epoch == database.epoch or head.row > database.last_row):
        lasts.setdefault(head.epoch, dict.fromkeys(LANES, 0))
        database.last_row = max(database.last_row, head.row)  # so that it is told once
    for epoch, lanes in lasts.items():
        for lane in LANES:
            last = lanes[lane]
            first = database.confirmed.get(lane_epoch(epoch, lane), 0) + 1
            if head is not None and head.epoch == epoch:
                last = max(last, head.lanes.get(lane, 0))
                first = max(first, head.confirmed.get(lane, 0) + 1)
            found.gaps += _missing_of(found, lane_epoch(epoch, lane), first, last)
    edge.epoch = found.surroundings.new_epoch()
    edge.lanes.update(dict.fromkeys(LANES, 0))
    return {"epoch": edge.epoch}


def _settle(found: Recovered, meta: dict[str, str]) -> None:
    """Commit what the recovery found, all at once: it is done once, whenever a crash comes."""
    if not (meta or found.restored):
        return
    edge = found.edge
    entries = found.restored + [edge.report_gap(gap) for gap in found.gaps]
    entries += [edge.rename(entry) for entry in found.renamed]
    draft = edge.collect(time_ms=found.surroundings.now_ms())
    dropped = [(entry.epoch, entry.seq) for entry in found.renamed]
    commit = Commit(draft, entries, dropped=dropped, state=edge.state(), meta=meta)
    found.database.commit(commit)


def _was_set_back(path: Path) -> bool:
    note = path.with_name(SUSPECT)
    return note.exists() and note.read_text("ascii", "replace") == SET_BACK


def _present_entries(found: Recovered) -> list[Entry]:
    """Return what waits in the lanes of the present epoch."""
    database = found.database
    lanes = [lane_epoch(database.epoch, lane) for lane in LANES]
    return [
        kept.entry
        for lane in lanes
        for kept in database.entries(lane, after=0, most_bytes=EVERYTHING)
        if kept.sound
    ]


def _missing_of(found: Recovered, epoch: str, first: int, last: int) -> Iterator[Gap]:
    """Yield the ranges of first..last that the outbox will not hold."""
    expected = first
    held = set(found.database.numbers(epoch, first=first))
    held |= {entry.seq for entry in found.restored if first <= entry.seq and entry.epoch == epoch}
    for seq in [*sorted(held), last + 1]:
        if seq > expected:
            yield Gap("corrupt", epoch, expected, seq - 1)
        expected = seq + 1


def _readings_of(row: JournalRow) -> int:
    return sum(getattr(event, "readings", 0) for event in row.events)
