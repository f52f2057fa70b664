"""The cloud's process is killed, the broker too: a gateway that keeps and asks loses nothing."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Engine

from cloud.accounts import LedgerAccount
from cloud.database import database_url, open_database
from cloud.store import Store
from tests.cloud.coupled import alert_payload, summary
from vedette.broker import Broker, free_port, start_mosquitto
from wire.blocks import encode_summaries
from wire.codec import decode_json, encode_json
from wire.messages import ConfirmRequest, GapMessage, StoredMessage
from wire.mqtt import Endpoint, Session
from wire.topics import Topics

TOPICS = Topics()
WAIT_S = 60.0
ANSWER_S = 0.5
MESSAGES = 600
WINDOW = 50
KILLS = range(60, MESSAGES, 120)
LONGEST_FUSE_S = 0.02
LANES = ("bulk", "urgent")
A_BLOCK = 120


def payload_of(lane: str, seq: int) -> tuple[str, bytes]:
    """Bulk: summaries. Urgent: alerts, and at each tenth a report of a reading a source lost."""
    if lane == "bulk":
        return TOPICS.gateway("g1", "summaries"), encode_summaries(summary(seq, epoch=lane))
    if seq % 10:
        alert = alert_payload(f"a{seq}", "opened", epoch=lane, seq=seq)
        return TOPICS.gateway("g1", "alerts", "pump-0"), alert
    report = GapMessage(
        gateway="g1", epoch=lane, seq=seq, reason="source", source="pump",
        lost_epoch="s1", first=seq, last=seq,
    )  # fmt: skip
    return TOPICS.gateway("g1", "gaps"), encode_json(report)


class Gateway:
    """Keeps each message until the cloud has it; asks, and sends again what was lost on the way."""

    def __init__(self) -> None:
        self.stored = dict.fromkeys(LANES, 0)
        self.made = dict.fromkeys(LANES, 0)
        self._answered = asyncio.Event()
        self._more = asyncio.Event()

    async def serve(self, session: Session) -> None:
        """Take answers in."""
        while True:
            inbound = await session.receive()
            session.acknowledge(inbound)
            for packet in inbound.packets:
                answer = decode_json(bytes(packet.payload or b""), StoredMessage)
                assert answer.seq <= self.made[answer.epoch], "stored what was never sent"
                self.stored[answer.epoch] = max(self.stored[answer.epoch], answer.seq)
                self._answered.set()
                self._more.set()

    async def send(self, session: Session) -> None:
        """Send both lanes, a window at a time, and ask, until everything is stored."""
        while min(self.stored.values()) < MESSAGES:
            async with asyncio.TaskGroup() as tasks:
                for lane, stored in self.stored.items():
                    last = self.made[lane] = min(stored + WINDOW, MESSAGES)
                    for seq in range(stored + 1, last + 1):
                        tasks.create_task(session.publish(*payload_of(lane, seq)))
            await self._ask(session)

    async def until_stored(self, seq: int) -> None:
        """Wait until both lanes are stored up to this number."""
        while min(self.stored.values()) < seq:
            await self._more.wait()
            self._more.clear()

    async def _ask(self, session: Session) -> None:
        self._answered.clear()
        for lane, last in self.made.items():
            first = self.stored[lane] + 1
            request = ConfirmRequest(sender="g1", epoch=lane, first=first, last=last)
            await session.publish(TOPICS.gateway("g1", "confirm"), encode_json(request))
        try:
            await asyncio.wait_for(self._answered.wait(), ANSWER_S)
        except TimeoutError:
            return


@asynccontextmanager
async def connected(broker_port: int, gateway: Gateway) -> AsyncIterator[Session]:
    endpoint = Endpoint.from_url(f"mqtt://127.0.0.1:{broker_port}", client_id="g1")
    async with Session(endpoint) as session:
        await session.subscribe(TOPICS.commands("g1"))
        serving = asyncio.create_task(gateway.serve(session))
        try:
            yield session
        finally:
            serving.cancel()
            await asyncio.wait({serving})
            assert serving.cancelled(), serving.exception()


@asynccontextmanager
async def cloud(broker_port: int, database: str) -> AsyncIterator[Process]:
    """A cloud that takes messages in; it is killed, never asked to end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", "from vedette.commands.cloud import app; app()", "run", "--json"),
        *("--broker", f"mqtt://127.0.0.1:{broker_port}", "--database", database),
        stdout=PIPE,
    )
    assert process.stdout is not None
    try:
        while json.loads(await process.stdout.readline())["event"] != "started":
            pass
        yield process
    finally:
        process.kill()
        await process.communicate()


def check_account(database: str) -> None:
    store = Store(open_database(database))
    (account,) = store.accounts()
    assert account.ledgers == tuple(
        LedgerAccount(epoch=lane, stored_seq=MESSAGES, stored=MESSAGES, lost=0) for lane in LANES
    )
    counts = store.counts()
    assert account.readings_in_summaries == A_BLOCK * MESSAGES
    assert (counts["alert_events"], counts["gaps"]) == (MESSAGES * 9 // 10, MESSAGES // 10)
    assert account.readings_in_gaps == MESSAGES // 10
    store.close()


async def burn_fuse(chance: random.Random, gateway: Gateway, seq: int) -> None:
    """Wait for the moment of a kill: somewhere in the work on what follows this number."""
    await gateway.until_stored(seq)
    await asyncio.sleep(chance.uniform(0, LONGEST_FUSE_S))


async def test_a_cloud_that_is_killed_again_and_again_has_each_message_once(
    mosquitto: Broker, engine: Engine
) -> None:
    chance, gateway = random.Random(7), Gateway()
    database = engine.url.render_as_string(hide_password=False)
    async with asyncio.timeout(WAIT_S), connected(mosquitto.port, gateway) as session:
        sending = asyncio.create_task(gateway.send(session))
        for seq in KILLS:
            async with cloud(mosquitto.port, database):
                await burn_fuse(chance, gateway, seq)
        async with cloud(mosquitto.port, database):
            await sending
    check_account(database)


async def test_a_broker_that_is_killed_and_forgets_everything_loses_nothing(
    needs_mosquitto: None, broker_directory: Path, tmp_path: Path
) -> None:
    port, database = free_port(), database_url(str(tmp_path / "cloud.sqlite"))
    chance, gateway = random.Random(7), Gateway()
    brokers = forgetful_brokers(port, broker_directory)
    next(brokers)
    async with asyncio.timeout(WAIT_S), connected(port, gateway) as session, cloud(port, database):
        sending = asyncio.create_task(gateway.send(session))
        for seq in KILLS:
            await burn_fuse(chance, gateway, seq)
            next(brokers)
        await sending
    brokers.close()
    check_account(database)


def forgetful_brokers(port: int, directory: Path) -> Iterator[Broker]:
    """Kill the broker that runs, if one does, and start one on its port that knows nothing."""
    while True:
        overrides = {"persistence": "false"}
        with start_mosquitto(port=port, directory=directory, overrides=overrides) as broker:
            yield broker
            broker.kill()
