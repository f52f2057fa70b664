"""A lane between an outbox and a broker whose every word the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import mqtt5
import pytest

from gateway.lane import WINDOW, Lane
from gateway.outbox import Entry, Outbox
from tests.brokers import ScriptedBroker, Visit, eventually
from wire.mqtt import Endpoint, Session


@contextlib.asynccontextmanager
async def lane_to(broker: ScriptedBroker) -> AsyncIterator[tuple[Lane, Visit]]:
    endpoint = Endpoint(host="127.0.0.1", port=broker.port, client_id="lane")
    async with Session(endpoint).background() as session:
        visit = await broker.visit()
        await visit.greet()
        lane = Lane(session, Outbox(10**6))
        task = asyncio.create_task(lane.run())
        try:
            yield lane, visit
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def entries(count: int, kind: str = "summaries") -> list[Entry]:
    return [Entry(kind, f"t/{at}", b"x" * 10) for at in range(count)]  # type: ignore[arg-type]


async def test_at_most_a_window_is_under_way_and_in_order() -> None:
    async with ScriptedBroker.listening() as broker, lane_to(broker) as (lane, visit):
        lane.extend(entries(WINDOW + 5))
        first = [await visit.expect(mqtt5.PublishPacket) for _ in range(WINDOW)]
        assert [packet.topic for packet in first] == [f"t/{at}" for at in range(WINDOW)]
        assert await visit.is_silent()
        assert lane.outbox.pending == 5
        visit.send(*(mqtt5.PubAckPacket(packet.packet_id) for packet in first[:5]))
        later = [await visit.expect(mqtt5.PublishPacket) for _ in range(5)]
        visit.send(*(mqtt5.PubAckPacket(packet.packet_id) for packet in [*first[5:], *later]))
        async with asyncio.timeout(10):
            await lane.drained()
        assert lane.outbox.sent_bytes == {"summaries": 10 * (WINDOW + 5)}


async def test_an_alert_overtakes_what_waits() -> None:
    async with ScriptedBroker.listening() as broker, lane_to(broker) as (lane, visit):
        lane.extend([*entries(WINDOW + 3), Entry("alerts", "t/alert", b"!")])
        order = [await visit.expect(mqtt5.PublishPacket) for _ in range(WINDOW)]
        assert order[0].topic == "t/alert"
        assert lane.outbox.pending == 4


async def test_a_refused_publish_is_counted_and_the_next_one_goes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedBroker.listening() as broker, lane_to(broker) as (lane, visit):
        lane.extend(entries(2))
        refused, taken = [await visit.expect(mqtt5.PublishPacket) for _ in range(2)]
        code = mqtt5.PubAckReasonCode.NOT_AUTHORIZED
        visit.send(mqtt5.PubAckPacket(refused.packet_id, reason_code=code))
        visit.send(mqtt5.PubAckPacket(taken.packet_id))
        async with asyncio.timeout(10):
            await lane.drained()
        assert lane.refused == 1
        assert lane.outbox.sent_bytes == {"summaries": 10}
        assert "the broker refused a message to 't/0'" in caplog.text


async def test_drained_waits_for_acknowledgements_and_not_for_nothing() -> None:
    async with ScriptedBroker.listening() as broker, lane_to(broker) as (lane, visit):
        async with asyncio.timeout(10):
            await lane.drained()
        lane.extend(entries(1))
        waiting = asyncio.create_task(lane.drained())
        packet = await visit.expect(mqtt5.PublishPacket)
        await eventually(lambda: lane.outbox.pending == 0)
        assert not waiting.done()
        visit.send(mqtt5.PubAckPacket(packet.packet_id))
        async with asyncio.timeout(10):
            await waiting


async def test_what_was_under_way_is_sent_again_after_a_break() -> None:
    async with ScriptedBroker.listening() as broker, lane_to(broker) as (lane, visit):
        lane.extend(entries(2))
        await visit.expect(mqtt5.PublishPacket)
        visit.close()
        again = await broker.visit()
        await again.greet(session_present=True)
        packets = [await again.expect(mqtt5.PublishPacket) for _ in range(2)]
        assert [packet.topic for packet in packets] == ["t/0", "t/1"]
        again.send(*(mqtt5.PubAckPacket(packet.packet_id) for packet in packets))
        async with asyncio.timeout(10):
            await lane.drained()
        assert lane.refused == 0
