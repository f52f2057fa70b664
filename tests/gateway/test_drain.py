"""What goes up next, and what is told of what does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import mqtt5

from gateway.drain import Drain
from gateway.durable.cursor import Cursor
from gateway.durable.kept import Kept
from gateway.durable.sendlane import BULK_WINDOW, STUCK_AFTER, URGENT_WINDOW, SendLane
from gateway.outbox import Entry
from tests.brokers import ScriptedBroker, Visit
from tests.gateway.running import TOPICS
from wire.messages import StoredMessage
from wire.mqtt import Endpoint, Session


class Rig(NamedTuple):
    drain: Drain
    visit: Visit
    promised: list[int]


@asynccontextmanager
async def drain_of(cursor: Cursor, *entries: Entry, cloud_known: bool) -> AsyncIterator[Rig]:
    """A drain whose disk holds these entries, on a broker that has accepted it."""
    promised: list[int] = []

    async def load(epoch: str, after: int, most_bytes: int) -> list[Kept]:
        return [Kept(entry, 0, sound=True) for entry in entries if entry.seq > after]

    async def promise(epoch: str, seq: int) -> None:
        promised.append(seq)

    async with ScriptedBroker.listening() as broker:
        endpoint = Endpoint(host="127.0.0.1", port=broker.port, client_id="g1")
        async with Session(endpoint).background() as session:
            visit = await broker.visit()
            await visit.greet()
            drain = Drain(
                session,
                [cursor],
                topics=TOPICS,
                gateway="g1",
                load=load,
                lost=lambda _: None,
                promise=promise,
                cloud_known=cloud_known,
            )
            yield Rig(drain, visit, promised)


async def test_a_message_that_the_cloud_never_takes_is_named() -> None:
    cursor = Cursor("e-bulk", confirmed=4, sent=9, last=9)
    refusal = StoredMessage(gateway="g1", epoch="e-bulk", seq=4, asked=9)
    async with drain_of(cursor, cloud_known=True) as rig:
        for _ in range(STUCK_AFTER):
            assert rig.drain.stuck == ""
            assert rig.drain.take_answer(refusal) is None
            cursor.sent = 9
        assert "does not take message 5 of e-bulk" in rig.drain.stuck
        assert rig.drain.take_answer(StoredMessage(gateway="g1", epoch="e-bulk", seq=5)) == 5
        assert rig.drain.stuck == ""


async def test_numbers_that_were_dropped_do_not_hold_up_what_is_behind() -> None:
    far = Entry("summaries", "t/far", b"x", epoch="e-bulk", seq=5000)
    cursor = Cursor("e-bulk", confirmed=4, sent=4, last=5000)
    async with drain_of(cursor, far, cloud_known=False) as rig, asyncio.TaskGroup() as group:
        task = group.create_task(rig.drain.run())
        packet = await rig.visit.expect(mqtt5.PublishPacket)
        task.cancel()
    assert packet.topic == "t/far"
    assert len(rig.promised) == 1
    assert rig.promised[0] >= 5000


def test_bulk_waits_for_a_cloud_that_there_has_been_and_alerts_never() -> None:
    bulk, urgent = (SendLane(Cursor(f"e-{name}", last=99)) for name in ("bulk", "urgent"))
    assert [lane.may_send(cloud_known=True) for lane in (bulk, urgent)] == [False, True]
    assert bulk.may_send(cloud_known=False)
    bulk.cursor.take_answer(0, asked=0)
    assert bulk.may_send(cloud_known=True)
    bulk.flying, urgent.flying = BULK_WINDOW, URGENT_WINDOW
    assert not bulk.may_send(cloud_known=True)
    assert not urgent.may_send(cloud_known=True)


def test_only_the_next_entry_is_kept_in_memory() -> None:
    lane = SendLane(Cursor("e-bulk"))
    for seq in (1, 2, 4):
        lane.offer(Entry("summaries", "t", b"x", epoch="e-bulk", seq=seq))
    assert [entry.seq for entry in lane.queue] == [1, 2]
    assert lane.cursor.last == 4
    assert lane.take().seq == 1
    lane.cursor.take_answer(1, asked=1)
    lane.forget_confirmed()
    assert [entry.seq for entry in lane.queue] == [2]
    lane.clear()
    assert (lane.queued_bytes, lane.version) == (0, 1)
