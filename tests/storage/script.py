"""What a gateway goes through, step by step: the same seed gives the same steps for ever."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gateway.config import Config, parse_config
from gateway.durable.database import Database
from gateway.durable.recovery import Recovered, recover
from gateway.durable.surroundings import OpenDatabase, Surroundings
from gateway.edge import Edge, settings_of
from gateway.models.shelf import Shelf
from gateway.outbox import Entry
from tests.chaos.waves import row_values, time_ms
from tests.gateway.graphs import bundled, load
from wire.messages import ConfirmRequest

__all__ = [
    "CONFIG",
    "Message",
    "Script",
    "Step",
    "apply",
    "new_edge",
    "recovered",
    "source_message",
]

SOURCES = 4
CHANNELS = 2
CONFIG: Config = parse_config(
    """
    [gateway]
    id = "edge"
    [summaries]
    period_s = 20.0
    least_rows = 8
    most_rows = 32
    [excerpts]
    history_rows = 48
    sample_every = 256
    sample_rows = 8
    [[source]]
    match = "vedette/v1/readings/+"
    [[source]]
    match = "plant/+"
    format = "json"
    topic = "plant/{asset}"
    """,
    name="script",
)


class Message(NamedTuple):
    """A PUBLISH as far as an edge looks at it."""

    topic: str
    payload: bytes
    packet_id: int | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens to an edge."""

    kind: str
    """take, tick, flush, or ask: a source says that it holds nothing below a number."""
    messages: tuple[Message, ...] = ()
    request: ConfirmRequest | None = None


@dataclass
class Script:
    """Steps by number; those that nobody will ask for again are forgotten."""

    seed: int
    rows: Counter[str] = field(default_factory=Counter)
    """Newest row of each source."""
    _rng: random.Random = field(init=False)
    _steps: dict[int, Step] = field(default_factory=dict)
    _made: int = 0

    def __post_init__(self) -> None:
        self._rng = random.Random(f"script {self.seed}")

    def step(self, number: int) -> Step:
        """Return a step; they are made in order."""
        while self._made <= number:
            self._steps[self._made] = self._make()
            self._made += 1
        return self._steps[number]

    def forget(self, *, below: int) -> None:
        """Drop the steps that are over."""
        for number in [number for number in self._steps if number < below]:
            del self._steps[number]

    def _make(self) -> Step:
        kind = self._rng.choices(("take", "tick", "flush", "ask"), (88, 7, 2, 3))[0]
        if kind == "take":
            return Step(kind, tuple(self._messages()))
        return Step(kind, request=self._request() if kind == "ask" else None)

    def _messages(self) -> list[Message]:
        made = []
        for _ in range(self._rng.randint(1, 12)):
            source = self._rng.randrange(SOURCES + 1)
            made.append(self._foreign() if source == SOURCES else self._own(source))
        return made

    def _own(self, source: int) -> Message:
        name = f"s{source}"
        self.rows[name] += 1
        return source_message(source, self.rows[name])

    def _foreign(self) -> Message:
        self.rows["pump"] += 1
        row = self.rows["pump"]
        payload = json.dumps({"flow": row_values(SOURCES, row, 1)["c0"]}).encode()
        return Message("plant/pump", payload, packet_id=row % 65_535 + 1)

    def _request(self) -> ConfirmRequest:
        """A source lost a few rows that nobody has seen."""
        name = f"s{self._rng.randrange(SOURCES)}"
        self.rows[name] += self._rng.randint(1, 5)
        row = self.rows[name]
        return ConfirmRequest(sender=name, epoch="e1", first=row + 1, last=row)


def source_message(source: int, row: int, *, kept: bool = False) -> Message:
    """Return a row of a sensor of our own."""
    values = row_values(source, row, CHANNELS)
    told = {"id": ["e1", row], "t": time_ms(row), "values": values}
    if kept:
        told["kept"] = True
    return Message(f"vedette/v1/readings/s{source}", json.dumps(told).encode())


def new_edge(epoch: str) -> Edge:
    """Return an edge that has seen nothing."""
    return Edge(CONFIG, Shelf(load(bundled())), epoch=epoch)


def recovered(
    folder: Path, rng: random.Random, open_database: OpenDatabase = Database
) -> Recovered:
    """Recover from a folder, as a start of the gateway does; the same seed makes the same epoch."""
    surroundings = Surroundings(
        open_database=open_database,
        new_epoch=lambda: rng.randbytes(4).hex(),
        now_ms=lambda: 1_700_000_000_000,
    )
    return recover(folder, new_edge, settings_of(CONFIG), surroundings=surroundings)


def apply(edge: Edge, step: Step, *, arrival_ms: float) -> list[Entry]:
    """Let a step happen; return the entries that must be kept for the cloud."""
    entries: list[Entry] = []
    match step.kind:
        case "take":
            entries += edge.take(step.messages, arrival_ms=arrival_ms)
        case "tick":
            entries += edge.tick()
        case "flush":
            for some in edge.flush():
                entries += some
        case _:
            assert step.request is not None
            entries += edge.confirm(step.request)[1]
    return [entry for entry in entries if entry.epoch]
