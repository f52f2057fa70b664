from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from cloud.database import database_url, open_database
from cloud.policy import RetrainPolicy
from cloud.service import CloudService, CloudSettings
from cloud.store import Store
from tests.cloud.coupled import alert_payload, coupled_rows, excerpt, session_of, summary
from vedette.broker import Broker
from wire.blocks import encode_excerpt, encode_summaries
from wire.codec import decode_json, encode_json
from wire.contract import read_model
from wire.messages import ConfirmRequest, GapMessage, ModelManifest, StoredMessage
from wire.mqtt import Endpoint, Session
from wire.topics import Topics

TOPICS = Topics()
WAIT_S = 20.0
ROWS = 300


class Events:
    """Collects what the service emits; tests wait for an event by name."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self._more = asyncio.Event()

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.seen.append(dict(event))
        self._more.set()

    async def wait_for(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            while not (found := [event for event in self.seen if fits(event)]):
                self._more.clear()
                await self._more.wait()
        return found[0]


class Cloud:
    """A service on a broker and a database file, started and stopped at will."""

    def __init__(self, broker: Broker, database: Path) -> None:
        self.url = database_url(str(database))
        self._settings = CloudSettings(
            endpoint=Endpoint.from_url(broker.url, client_id="cloud"),
            database_url=self.url,
            policy=RetrainPolicy(min_rows=ROWS, interval_s=0.1),
            check_s=0.05,
            report_s=0.05,
        )

    @asynccontextmanager
    async def running(self, **changes: Any) -> AsyncIterator[Events]:
        events = Events()
        service = CloudService(replace(self._settings, **changes), emit=events)
        task = asyncio.create_task(service.run())
        try:
            await events.wait_for(lambda event: event["event"] == "pushed")
            yield events
        finally:
            task.cancel()
            await asyncio.wait({task})
            assert task.cancelled(), task.exception()


@pytest.fixture
def cloud(broker: Broker, tmp_path: Path) -> Cloud:
    return Cloud(broker, tmp_path / "cloud.sqlite")


@asynccontextmanager
async def gateway(broker: Broker, name: str = "g1") -> AsyncIterator[Session]:
    async with Session(Endpoint.from_url(broker.url, client_id=name)) as session:
        await session.subscribe(TOPICS.commands("g1"), f"{TOPICS.root}/models/#")
        yield session


async def next_messages(session: Session, fits: Callable[[str, bytes], bool]) -> dict[str, bytes]:
    """Receive until a message fits; return the newest payload of each topic."""
    found: dict[str, bytes] = {}
    async with asyncio.timeout(WAIT_S):
        while True:
            inbound = await session.receive()
            session.acknowledge(inbound)
            for packet in inbound.packets:
                found[packet.topic] = bytes(packet.payload or b"")
                if fits(packet.topic, found[packet.topic]):
                    return found


def history(seq: int, asset: int) -> bytes:
    values = coupled_rows(asset, ROWS)
    return encode_excerpt(excerpt(seq, values, asset=f"pump-{asset}"))


def lists_models(topic: str, payload: bytes) -> bool:
    return topic == TOPICS.meta("targets") and bool(decode_json(payload, ModelManifest).targets)


async def test_history_becomes_a_model_that_a_gateway_can_fetch(
    broker: Broker, cloud: Cloud
) -> None:
    async with gateway(broker) as session, cloud.running() as events:
        await session.publish(TOPICS.gateway("g1", "excerpts"), history(1, 0))
        found = await next_messages(session, lists_models)
        (target,) = decode_json(found[TOPICS.meta("targets")], ModelManifest).targets
        chunks = [found[TOPICS.blob(target.sha256, index)] for index in range(target.chunks)]
        data = b"".join(chunks)
        assert hashlib.sha256(data).hexdigest() == target.sha256
        model = read_model(data)
        assert model.card.assets == ("pump-0",)
        x = np.zeros((1, model.card.window, 3), np.float32)
        score = session_of(model).run(["score"], {"x": x, "asset": np.zeros(1, np.int64)})[0]
        assert np.isfinite(score).all()
        trained = await events.wait_for(lambda event: event["event"] == "trained")
        assert (trained["sha256"], trained["version"], trained["rows"]) == (target.sha256, 1, ROWS)


async def test_new_rows_give_a_new_version_and_the_old_chunks_go(
    broker: Broker, cloud: Cloud
) -> None:
    async with gateway(broker) as session, cloud.running() as events:
        await session.publish(TOPICS.gateway("g1", "excerpts"), history(1, 0))
        first = await events.wait_for(lambda event: event["event"] == "trained")
        await session.publish(TOPICS.gateway("g1", "excerpts"), history(2, 1))
        second = await events.wait_for(lambda event: event.get("version") == 2)
        assert second["assets"] == 2
        old = TOPICS.blob(first["sha256"], 0)
        await next_messages(session, lambda topic, payload: topic == old and not payload)
    async with gateway(broker, "late") as late:
        found = await next_messages(late, lists_models)
        (target,) = decode_json(found[TOPICS.meta("targets")], ModelManifest).targets
        assert (target.version, target.sha256) == (2, second["sha256"])


async def test_what_is_stored_is_told_and_redelivery_is_harmless(
    broker: Broker, cloud: Cloud
) -> None:
    async with gateway(broker) as session, cloud.running() as events:
        topic = TOPICS.gateway("g1", "summaries")
        for seq in (1, 2, 2, 1):
            await session.publish(topic, encode_summaries(summary(seq)))
        await events.wait_for(lambda event: event.get("duplicates") == 2)
        stored = TOPICS.gateway("g1", "cmd", "stored")
        found = await next_messages(
            session, lambda topic, payload: topic == stored and b'"seq":2' in payload
        )
        message = decode_json(found[stored], StoredMessage)
        assert message == StoredMessage(gateway="g1", epoch="e1", seq=2)
    assert Store(open_database(cloud.url)).counts()["summaries"] == 4


async def test_a_question_is_answered_after_the_commit_of_what_came_before_it(
    broker: Broker, cloud: Cloud
) -> None:
    async with gateway(broker) as session, cloud.running():
        for seq in (1, 2, 4):
            topic = TOPICS.gateway("g1", "summaries")
            await session.publish(topic, encode_summaries(summary(seq)))
        request = ConfirmRequest(sender="g1", epoch="e1", first=1, last=4)
        await session.publish(TOPICS.gateway("g1", "confirm"), encode_json(request))
        stored = TOPICS.gateway("g1", "cmd", "stored")
        found = await next_messages(
            session, lambda topic, payload: topic == stored and b'"asked":4' in payload
        )
        message = decode_json(found[stored], StoredMessage)
        assert message == StoredMessage(gateway="g1", epoch="e1", seq=2, asked=4)
    assert Store(open_database(cloud.url)).counts()["summaries"] == 6


async def test_alerts_and_reports_of_gaps_share_a_lane(broker: Broker, cloud: Cloud) -> None:
    report = GapMessage(
        gateway="g1", epoch="u", seq=2, reason="cap", lost_epoch="e1", first=1, last=3
    )
    async with gateway(broker) as session, cloud.running() as events:
        alert = alert_payload("a1", "opened", epoch="u", seq=1)
        for _ in range(2):
            await session.publish(TOPICS.gateway("g1", "alerts", "pump-0"), alert)
            await session.publish(TOPICS.gateway("g1", "gaps"), encode_json(report))
        counted = await events.wait_for(lambda event: event.get("duplicates") == 2)
        assert (counted["alerts"], counted["gaps"]) == (1, 1)
    (account,) = Store(open_database(cloud.url)).accounts()
    assert [(ledger.epoch, ledger.stored_seq) for ledger in account.ledgers] == [
        ("e1", 3),
        ("u", 2),
    ]


async def test_a_locked_database_is_outlasted_and_told_once(broker: Broker, cloud: Cloud) -> None:
    quick = f"{cloud.url}?timeout=0.05"
    async with gateway(broker) as session, cloud.running(database_url=quick) as events:
        lock = sqlite3.connect(make_url(cloud.url).database or "", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        topic = TOPICS.gateway("g1", "summaries")
        await session.publish(topic, encode_summaries(summary(1)))
        gone = await events.wait_for(lambda event: event["event"] == "database_unavailable")
        assert (gone["what"], gone["detail"]) == ("ingest", "database is locked")
        await session.publish(topic, encode_summaries(summary(2)))
        lock.execute("ROLLBACK")
        lock.close()
        await events.wait_for(lambda event: event["event"] == "database_available")
        await events.wait_for(lambda event: event.get("summaries") == 2)
        told = [event for event in events.seen if event["event"] == "database_unavailable"]
        assert told == [gone]


async def test_what_was_not_committed_comes_again_after_the_end_of_the_process(
    broker: Broker, cloud: Cloud
) -> None:
    quick = f"{cloud.url}?timeout=0.05"
    async with gateway(broker) as session:
        async with cloud.running(database_url=quick) as events:
            lock = sqlite3.connect(make_url(cloud.url).database or "", isolation_level=None)
            lock.execute("BEGIN IMMEDIATE")
            await session.publish(TOPICS.gateway("g1", "summaries"), encode_summaries(summary(1)))
            await events.wait_for(lambda event: event["event"] == "database_unavailable")
        lock.close()
        async with cloud.running() as events:
            await events.wait_for(lambda event: event.get("summaries") == 1)


async def test_a_postgresql_server_that_goes_and_comes_back_is_outlasted(
    broker: Broker, cloud: Cloud, postgresql: str
) -> None:
    owner = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    name = "outlasted"
    with owner.connect() as admin:
        admin.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.exec_driver_sql(f"CREATE DATABASE {name}")
        url = make_url(postgresql).set(database=name).render_as_string(hide_password=False)
        async with gateway(broker) as session, cloud.running(database_url=url) as events:
            admin.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            admin.exec_driver_sql(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            topic = TOPICS.gateway("g1", "excerpts")
            await session.publish(topic, history(1, 0))
            await events.wait_for(lambda event: event["event"] == "database_unavailable")
            admin.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await events.wait_for(lambda event: event.get("excerpts") == 1)
            await events.wait_for(lambda event: event["event"] == "trained")
        admin.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    owner.dispose()


async def test_garbage_is_counted_and_the_rest_goes_on(broker: Broker, cloud: Cloud) -> None:
    async with gateway(broker) as session, cloud.running() as events:
        await session.publish(TOPICS.gateway("g1", "summaries"), b"\x00garbage")
        await session.publish(TOPICS.gateway("g1", "status"), b"")
        await session.publish(TOPICS.gateway("g1", "summaries"), encode_summaries(summary(1)))
        counted = await events.wait_for(lambda event: event.get("summaries") == 1)
        assert counted["rejected"] == 2
    assert Store(open_database(cloud.url)).counts()["rejected"] == 2


async def test_a_restart_takes_up_missed_messages_and_pushes_the_champions_again(
    broker: Broker, cloud: Cloud
) -> None:
    async with gateway(broker) as session:
        async with cloud.running() as events:
            await session.publish(TOPICS.gateway("g1", "excerpts"), history(1, 0))
            await events.wait_for(lambda event: bool(event.get("models")))
        await session.publish(TOPICS.gateway("g1", "summaries"), encode_summaries(summary(2)))
        never = RetrainPolicy(min_rows=ROWS, interval_s=3600)
        async with cloud.running(policy=never) as events:
            pushed = events.seen[1]
            assert (pushed["manifest"], len(pushed["models"])) == (1, 1)
            await events.wait_for(lambda event: event.get("summaries") == 1)
            assert not any(event["event"] == "trained" for event in events.seen)


async def test_a_group_that_cannot_be_trained_says_why_and_the_service_goes_on(
    broker: Broker, cloud: Cloud
) -> None:
    async with gateway(broker) as session, cloud.running() as events:
        for seq in range(1, ROWS + 1, 10):
            values = coupled_rows(seq, 10)
            block = excerpt(seq // 10 + 1, values, first=1000 * seq)
            await session.publish(TOPICS.gateway("g1", "excerpts"), encode_excerpt(block))
        refused = await events.wait_for(lambda event: event["event"] == "not_trained")
        assert "without a gap" in refused["why"]
        await session.publish(TOPICS.gateway("g1", "excerpts"), history(100, 1))
        await events.wait_for(lambda event: event["event"] == "trained")
