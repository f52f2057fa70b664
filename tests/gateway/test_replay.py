"""A gateway that was killed goes on as if it had not been: the same bytes, each once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import Config, ExcerptsSection, SummariesSection
from gateway.durable.commit import Commit
from gateway.durable.database import Database
from gateway.durable.edgestate import EdgeState
from gateway.durable.recovery import DATABASE, Recovered, recover
from gateway.durable.snapshot import decode_state, encode_state
from gateway.edge import Edge, settings_of
from gateway.models.shelf import Shelf
from gateway.outbox import Entry
from tests.gateway.graphs import CHANNELS, bundled, coupled_rows, fleet, joint, load, magnitude
from wire.messages import ConfirmRequest
from wire.topics import Topics

TOPICS = Topics()
QUICK = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
CONFIG = Config(
    summaries=SummariesSection(period_s=20.0, least_rows=5, most_rows=32),
    excerpts=ExcerptsSection(history_rows=24, sample_every=256, sample_rows=8, assets_at_once=2),
)
MODELS: dict[str, Callable[[], list[object]]] = {
    "bundled": list,
    "fleet": lambda: [fleet()],
    "joint": lambda: [joint(["flow", "temperature"], window=3)],
    "stateless": lambda: [magnitude(window=3, warmup=4)],
}


class Message(NamedTuple):
    topic: str
    payload: bytes
    packet_id: int | None = 1
    duplicate: bool = False


def edge_of(kind: str, epoch: str = "e1") -> Edge:
    shelf = Shelf(load(bundled()))
    for model in MODELS[kind]():
        shelf.place(load(model))  # type: ignore[arg-type]
    return Edge(CONFIG, shelf, epoch=epoch)


def messages(seed: int, assets: int, rows: int) -> list[Message]:
    """Rows of several assets with steps that raise alerts, nulls, and channels that come late."""
    rng = np.random.default_rng(seed)
    values = [coupled_rows(index, rows) for index in range(assets)]
    made = []
    for at in range(rows):
        for asset in range(assets):
            row = dict(zip(CHANNELS, map(float, values[asset][at]), strict=True))
            if rng.random() < 0.05:
                row["flow"] += 60.0
            if rng.random() < 0.1:
                row["temperature"] = None  # type: ignore[assignment]
            if at < rows // 4 and asset % 2:
                del row["flow"]
            body = {"id": ["s1", at + 1], "t": 1e6 + 1000 * at, "values": row, "kept": True}
            made.append(Message(TOPICS.readings(f"a{asset}"), json.dumps(body).encode()))
    return made


def outbox(database: Database) -> list[tuple[str, int, bytes, int]]:
    kept = [
        kept
        for epoch, *_ in database.lanes()
        for kept in database.entries(epoch, after=0, most_bytes=1 << 40)
    ]
    assert all(one.sound for one in kept)
    rows = [(e.entry.epoch, e.entry.seq, e.entry.payload, e.entry.readings) for e in kept]
    return sorted(rows)


def step(edge: Edge, action: int, part: list[Message]) -> list[Entry]:
    """Take the messages in; now and then time passes, or the input pauses, before."""
    entries: list[Entry] = []
    if action == 1:
        entries += edge.tick()
    elif action == 2:
        for some in edge.flush():
            entries += some
    return entries + edge.take(part, arrival_ms=0)


class Plan(NamedTuple):
    """What happens to a gateway: pieces of the input, each (messages, action, snapshot, kill)."""

    parts: list[tuple[list[Message], int, bool, bool]]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    made = messages(draw(st.integers(0, 999)), draw(st.integers(1, 3)), draw(st.integers(20, 70)))
    cuts = sorted(draw(st.lists(st.integers(0, len(made)), min_size=1, max_size=10)))
    edges = [0, *cuts, len(made)]
    flags = st.tuples(st.integers(0, 3), st.booleans(), st.booleans())
    return Plan(
        [(made[first:last], *draw(flags)) for first, last in pairwise(edges) if last > first]
    )


def run(folder: Path, kind: str, plan: Plan, *, kills: bool) -> Recovered:
    """Feed the plan; a kill loses what was not committed, and the source sends it again."""
    found = recover(folder, lambda epoch: edge_of(kind, epoch), settings_of(CONFIG))
    for part, action, snapshot, kill in plan.parts:
        if kills and kill:
            step(found.edge, action, part)  # processed, and never committed
            found.database.close()
            found = recover(folder, lambda epoch: edge_of(kind, epoch), settings_of(CONFIG))
            assert not found.faults
        entries = [entry for entry in step(found.edge, action, part) if entry.epoch]
        draft = found.edge.collect(time_ms=1)
        state = found.edge.state() if snapshot else None
        found.database.commit(Commit(draft, entries, state=state))
    return found


def normalised(rows: list[tuple[str, int, bytes, int]], epoch: str) -> list[object]:
    """Entries without the random part of their epoch."""
    from gateway.durable.relabel import relabel

    kinds = {b"{": "alerts"}
    made = []
    for lane, seq, payload, readings in rows:
        kind = kinds.get(payload[:1], "bulk")
        if kind == "bulk":
            kind = _bulk_kind(payload)
        entry = Entry(kind, "t", payload, epoch=lane, seq=seq, readings=readings)  # type: ignore[arg-type]
        plain = relabel(entry, epoch=lane.replace(epoch, "x"), seq=seq)
        made.append((plain.epoch, seq, plain.payload, readings))
    return made


def _bulk_kind(payload: bytes) -> str:
    from wire.blocks import decode_summaries
    from wire.errors import MessageError

    try:
        decode_summaries(payload)
    except MessageError:
        return "excerpts"
    return "summaries"


@pytest.mark.parametrize("kind", MODELS)
@QUICK
@given(plan=plans())
def test_kills_change_nothing(
    kind: str, plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> None:
    calm, killed = (
        run(tmp_path_factory.mktemp("gw"), kind, plan, kills=kills) for kills in (False, True)
    )
    for found in (calm, killed):
        entries = [entry for some in found.edge.flush() for entry in some if entry.epoch]
        found.database.commit(Commit(found.edge.collect(time_ms=1), entries))
    one, other = (normalised(outbox(found.database), found.edge.epoch) for found in (calm, killed))
    assert one == other
    assert calm.edge.ledger.counters() == killed.edge.ledger.counters()
    assert calm.edge.scored == killed.edge.scored
    assert [e.payload for e in calm.edge.states.values()] == [
        e.payload for e in killed.edge.states.values()
    ]
    for found in (calm, killed):
        found.database.close()


def test_the_plans_reach_alerts_summaries_and_excerpts(tmp_path: Path) -> None:
    made = messages(3, 2, 70)
    plan = Plan([(made[:60], 0, False, False), (made[60:], 1, True, True)])
    found = run(tmp_path, "bundled", plan, kills=True)
    kinds = {entry.entry.kind for kind in KEPT for entry in found.database.oldest(kind, limit=9)}
    assert kinds >= {"summaries", "excerpts"}
    assert found.readings > 0
    found.database.close()


KEPT = ("alerts", "summaries", "excerpts", "gaps")


@pytest.mark.parametrize("kind", MODELS)
def test_a_checkpoint_gives_back_the_same_state(kind: str) -> None:
    edge = edge_of(kind)
    edge.take(messages(1, 3, 40), arrival_ms=0)
    first = encode_state(edge.state())
    other = edge_of(kind)
    other.restore(decode_state(first, EdgeState))
    assert encode_state(other.state()) == first


def test_what_the_outbox_lost_is_made_again(tmp_path: Path) -> None:
    plan = Plan([(messages(3, 2, 70), 0, False, False)])
    found = run(tmp_path, "bundled", plan, kills=False)
    before = outbox(found.database)
    found.database.commit(Commit(dropped=[(epoch, seq) for epoch, seq, *_ in before[:2]]))
    found.database.close()
    again = recover(tmp_path, lambda epoch: edge_of("bundled", epoch), settings_of(CONFIG))
    assert outbox(again.database) == before
    assert len(again.restored) == 2
    again.database.close()


def test_a_second_gateway_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    from gateway.errors import StorageBusyError

    found = recover(tmp_path, lambda epoch: edge_of("bundled", epoch), settings_of(CONFIG))
    with pytest.raises(StorageBusyError, match="another gateway runs on it"):
        recover(tmp_path, lambda epoch: edge_of("bundled", epoch), settings_of(CONFIG))
    found.database.close()


def test_a_damaged_row_becomes_a_gap_of_its_readings(tmp_path: Path) -> None:
    made = messages(5, 2, 60)
    plan = Plan([(made[at : at + 20], 0, at == 40, False) for at in range(0, 120, 20)])
    found = run(tmp_path, "bundled", plan, kills=False)
    last = found.database.last_row
    found.database.close()
    damage(tmp_path / DATABASE, last - 1)
    again = recover(tmp_path, lambda epoch: edge_of("bundled", epoch), settings_of(CONFIG))
    assert again.faults
    ranges = sorted((g.source, g.first, g.last) for g in again.gaps if g.source)
    # 20 messages of 2 assets a row of the journal
    first = 10 * (last - 2) + 1
    assert ranges == [("a0", first, first + 9), ("a1", first, first + 9)]
    assert again.edge.ledger.lost["corrupt"] >= 20
    assert again.database.epoch == again.edge.epoch
    again.database.close()


def damage(path: Path, row: int) -> None:
    import sqlite3

    with sqlite3.connect(path) as connection:
        (data,) = connection.execute("SELECT data FROM journal WHERE n = ?", (row,)).fetchone()
        broken = data[:-1] + bytes([data[-1] ^ 1])
        connection.execute("UPDATE journal SET data = ? WHERE n = ?", (broken, row))
    connection.close()


def test_a_source_that_lost_readings_makes_a_gap_once() -> None:
    edge = edge_of("bundled")
    edge.take(messages(1, 1, 10), arrival_ms=0)
    ask = ConfirmRequest(sender="a0", epoch="s1", first=16, last=20)
    answer, gaps = edge.confirm(ask)
    assert json.loads(answer.payload)["seq"] == 15
    (gap,) = [json.loads(entry.payload) for entry in gaps]
    assert (gap["first"], gap["last"], gap["source"]) == (11, 15, "a0")
    assert (gap["reason"], edge.confirm(ask)[1]) == ("source", [])


def test_a_gateway_without_a_mark_cannot_tell_what_is_lost() -> None:
    edge = edge_of("bundled")
    _, gaps = edge.confirm(ConfirmRequest(sender="a0", epoch="s1", first=393, last=400))
    (gap,) = [json.loads(entry.payload) for entry in gaps]
    assert (gap["reason"], gap["first"], gap["last"]) == ("unmarked", 1, 392)


@pytest.mark.parametrize("rows", [16, 64])
def test_other_settings_count_from_a_restart_on_and_lose_nothing(rows: int, tmp_path: Path) -> None:
    made = messages(7, 2, 60)
    plan = Plan([(made[:80], 1, True, False), (made[80:], 1, False, False)])
    found = run(tmp_path, "bundled", plan, kills=False)
    scored = found.edge.ledger.scored
    found.database.close()
    other = dataclasses.replace(settings_of(CONFIG), most_rows=rows, period_s=7.0)
    again = recover(tmp_path, lambda epoch: edge_of("bundled", epoch), other)
    assert not again.faults
    assert again.edge.pipeline.history.rows == rows
    assert again.edge.ledger.scored == again.edge.ledger.summarised == scored
    entries = again.edge.take(messages(7, 2, 90)[120:], arrival_ms=0)
    entries += [entry for some in again.edge.flush() for entry in some]
    assert again.edge.ledger.scored == again.edge.ledger.summarised > scored
    again.database.close()


def test_a_flush_is_run_again_before_channels_that_came_after_it(tmp_path: Path) -> None:
    """Names of a row are known when its first event is run, which may be a flush before them."""

    def row(seq: int, *channels: str) -> Message:
        values = dict.fromkeys(channels, 1.0)
        body = {"id": ["s1", seq], "t": 1e6 + 1000 * seq, "values": values}
        return Message(TOPICS.readings("x"), json.dumps(body).encode())

    plan = Plan(
        [
            ([row(1, "a"), row(2, "a")], 0, True, False),
            ([row(3, "a", "b", "c")], 2, False, False),
        ]
    )
    found = run(tmp_path, "bundled", plan, kills=False)
    scored = found.edge.ledger.scored
    found.database.close()
    again = recover(tmp_path, lambda epoch: edge_of("bundled", epoch), settings_of(CONFIG))
    assert not again.faults
    assert again.edge.ledger.scored == scored == 5
    assert again.edge.pipeline.directory.stream_count == 3
    again.database.close()
