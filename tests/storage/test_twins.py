"""Messages that come again, and gateways that should not be two: nothing counts twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.brokers import eventually
from tests.gateway.running import Heard, listening, site
from tests.storage.launch import PLAIN, launched
from tests.storage.script import Step as ScriptStep
from tests.storage.script import apply, new_edge, source_message
from vedette.broker import Broker
from wire.mqtt import Session

FOREIGN = '[[source]]\nmatch = "plant/+"\nformat = "json"\ntopic = "plant/{asset}"\n'
AT_A_TIME = 20
REPLAYED = 10_000
KILLS = (
    "gateway-commit:after:3",
    "gateway-acknowledge:before:4",
    "gateway-acknowledge:after:2",
)
MOST_CONNECTS = 30


async def publish(session: Session, first: int, last: int) -> None:
    going = [
        session.publish(f"plant/pump-{number % 3}", json.dumps({"flow": number}).encode())
        for number in range(first, last)
    ]
    await asyncio.gather(*going)


async def received(heard: Heard, count: int) -> int:
    status = await heard.until(lambda status: status.readings.get("received", 0) >= count)
    return status.readings["received"]


@pytest.mark.usefixtures("needs_mosquitto")
@pytest.mark.parametrize("crash", KILLS)
async def test_a_device_without_numbers_counts_once_whenever_the_gateway_dies(
    mosquitto: Broker, tmp_path: Path, crash: str
) -> None:
    module = ("tests.chaos.child", "gateway", "--crash", crash, "--")
    async with listening(mosquitto.url) as heard, site(mosquitto.port) as session:
        with launched(tmp_path / "gw", mosquitto.url, more=FOREIGN, module=module) as dying:
            await heard.until(lambda status: status.presence == "online")
            sent = 0
            while dying.process.poll() is None:
                await publish(session, sent, sent + AT_A_TIME)
                sent += AT_A_TIME
        with launched(tmp_path / "gw", mosquitto.url, more=FOREIGN) as living:
            await publish(session, sent, sent + AT_A_TIME)
            sent += AT_A_TIME
            assert await received(heard, sent) == sent
            await asyncio.to_thread(living.stop)
        status = await heard.until(lambda status: status.presence == "offline")
    assert status.readings["received"] == status.readings["scored"] == sent
    assert status.ledger["summarised"] == sent


def test_ten_thousand_messages_again_change_nothing() -> None:
    edge = new_edge("e0")
    messages = tuple(source_message(0, row) for row in range(1, REPLAYED + 1))
    first = apply(edge, ScriptStep("take", messages), arrival_ms=0)
    assert first
    before = edge.ledger.counters()
    assert not apply(edge, ScriptStep("take", messages), arrival_ms=0)
    again = edge.ledger.counters()
    assert again["duplicate"] - before["duplicate"] == 2 * REPLAYED
    assert again["scored"] == before["scored"]
    assert edge.flush()


@pytest.mark.usefixtures("needs_mosquitto")
async def test_of_two_gateways_of_one_id_one_notices_and_gives_way(
    mosquitto: Broker, tmp_path: Path
) -> None:
    with (
        launched(tmp_path / "one", mosquitto.url) as one,
        launched(tmp_path / "two", mosquitto.url) as two,
    ):
        await eventually(
            lambda: any("give each client its own client id" in twin.log for twin in (one, two)),
            timeout_s=30.0,
        )
        connects = one.log.count("Connected(") + two.log.count("Connected(")
        assert connects < MOST_CONNECTS
        assert one.process.poll() is None
        assert two.process.poll() is None


@pytest.mark.usefixtures("needs_mosquitto")
async def test_a_second_gateway_on_one_folder_says_so_and_leaves(
    mosquitto: Broker, tmp_path: Path
) -> None:
    async with listening(mosquitto.url) as heard:
        with launched(tmp_path / "gw", mosquitto.url, module=PLAIN):
            await heard.until(lambda status: status.presence == "online")
            with launched(tmp_path / "gw", mosquitto.url) as second:
                assert await asyncio.to_thread(second.process.wait, 20.0) == 3
                assert "another gateway runs on it: stop that one, or give this one" in second.log
