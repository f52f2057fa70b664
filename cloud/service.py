"""The running aggregator: takes in what gateways send, retrains, pushes champions."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from cloud.answers import Answers
from cloud.database import open_database
from cloud.errors import TrainingError
from cloud.groups import Group, group_assets, model_id
from cloud.ingest import KINDS, read_message
from cloud.outage import Outage
from cloud.policy import RetrainPolicy, Trained
from cloud.push import Retained, chunk_publishes, clearings, manifest_publish
from cloud.records import Record
from cloud.registry import Registry
from cloud.store import Store
from cloud.train.subpca import FleetSettings
from cloud.training import Training, fit_group, keep
from wire.codec import encode_json
from wire.messages import StoredMessage
from wire.mqtt import Endpoint, Inbound, PublishRefusedError, Session
from wire.topics import Topics

__all__ = ["CloudService", "CloudSettings", "Emit", "clock_us", "describe"]

Emit = Callable[[Mapping[str, Any]], None]
T = TypeVar("T")

LINGER_S = 0.05
BATCH = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudSettings:
    """What the service needs to know."""

    endpoint: Endpoint
    database_url: str
    topics: Topics = field(default_factory=Topics)
    policy: RetrainPolicy = field(default_factory=RetrainPolicy)
    fleet: FleetSettings = field(default_factory=FleetSettings)
    check_s: float = 1.0
    """Seconds between two looks at whether a training is due."""
    report_s: float = 5.0
    """Seconds between two reports of what was taken in."""


class CloudService:
    """Runs until cancelled. `emit` gets one mapping an event; its `event` says which."""

    def __init__(self, settings: CloudSettings, *, emit: Emit) -> None:
        engine = open_database(settings.database_url)
        self._settings = settings
        self._emit = emit
        self._store = Store(engine)
        self._registry = Registry(engine)
        self._counts: Counter[str] = Counter()
        self._trained: dict[tuple[str, ...], Trained] = {}
        self._answers = Answers()
        self._storing = Outage("ingest", emit=emit)
        self._training = Outage("training", emit=emit)

    async def run(self) -> None:
        """Serve; raise BrokerUnreachableError or a refusal of the first connection."""
        settings = self._settings
        with (
            contextlib.closing(self._store),
            ThreadPoolExecutor(1, "database writer") as self._writer,
        ):
            async with Session(settings.endpoint) as session, asyncio.TaskGroup() as tasks:
                await session.subscribe(*map(settings.topics.all_gateways, KINDS))
                self._emit({"event": "started", "broker": settings.endpoint.host})
                tasks.create_task(self._ingest(session), name="ingest")
                tasks.create_task(self._answer(session), name="answers")
                tasks.create_task(self._retrain(session), name="retrain")
                tasks.create_task(self._report(), name="report")

    async def _ingest(self, session: Session) -> None:
        while True:
            inbound = await session.receive(linger_s=LINGER_S, limit=BATCH)
            records = await asyncio.to_thread(self._read, inbound)
            write = partial(self._store.write, records, received_us=clock_us())
            result = await self._storing.outlast(partial(self._in_writer, write))
            session.acknowledge(inbound)
            self._counts += result.counts
            self._answers.add(result.answers)

    def _read(self, inbound: Inbound) -> list[Record]:
        topics = self._settings.topics
        return [
            read_message(topics, topic=packet.topic, payload=bytes(packet.payload or b""))
            for packet in inbound.packets
        ]

    async def _answer(self, session: Session) -> None:
        """Publish what is stored; apart from ingest, which must never wait for a PUBACK.

        A broker may withhold it while we hold as many unacknowledged messages as it allows.
        """
        while True:
            answers = await self._answers.take()
            async with asyncio.TaskGroup() as tasks:
                for answer in answers:
                    tasks.create_task(self._publish_answer(session, answer))

    async def _publish_answer(self, session: Session, answer: StoredMessage) -> None:
        topic = self._settings.topics.gateway(answer.gateway, "cmd", "stored")
        try:
            await session.publish(topic, encode_json(answer))
        except PublishRefusedError as error:
            self._emit({"event": "publish_refused", "topic": topic, "detail": str(error)})

    async def _retrain(self, session: Session) -> None:
        await self._push(session)
        groups: list[Group] = []
        seen_rows = -1
        while True:
            if self._counts["excerpt_rows"] != seen_rows:
                seen_rows = self._counts["excerpt_rows"]
                groups = await self._training.outlast(partial(asyncio.to_thread, self._groups))
            due = self._settings.policy.due(groups, trained=self._trained, now_s=time.time())
            for group in due:
                await self._train(session, group)
            await asyncio.sleep(self._settings.check_s)

    def _groups(self) -> list[Group]:
        """Read the groups, and for new ones what the registry knows of their last training."""
        groups = group_assets(self._store.training_rows())
        champions = {champion.model: champion for champion in self._registry.champions()}
        for group in groups:
            champion = champions.get(model_id(group.channels))
            if champion is not None and group.channels not in self._trained:
                at_s = champion.created_us / 1e6
                self._trained[group.channels] = Trained(champion.rows, at_s)
        return groups

    async def _train(self, session: Session, group: Group) -> None:
        try:
            fit = partial(asyncio.to_thread, self._fit, group)
            training = await self._training.outlast(fit)
        except TrainingError as error:
            self._emit({"event": "not_trained", "id": model_id(group.channels), "why": str(error)})
        else:
            await self._keep_trying(
                partial(keep, training, registry=self._registry, created_us=clock_us())
            )
            for fields in describe(training):
                self._emit({"event": "trained", **fields})
            await self._push(session)
        self._trained[group.channels] = Trained(group.total_rows, time.time())

    def _fit(self, group: Group) -> Training:
        return fit_group(
            group, store=self._store, registry=self._registry, settings=self._settings.fleet
        )

    async def _push(self, session: Session) -> None:
        """Put the champions on the broker: chunks, then the list, then clear what is superseded."""
        topics = self._settings.topics
        registry = self._registry
        champions = await self._keep_trying(registry.champions)
        for champion in champions:
            model = await self._keep_trying(partial(registry.load, champion.sha256))
            await publish_all(session, chunk_publishes(model, topics=topics))
        version = await self._keep_trying(registry.manifest_version)
        manifest = manifest_publish(champions, version=version, topics=topics)
        await publish_all(session, [manifest])
        for entry in (superseded := await self._keep_trying(registry.superseded)):
            await publish_all(session, clearings(entry, topics=topics))
        await self._keep_trying(partial(registry.mark_withdrawn, superseded))
        self._emit(
            {
                "event": "pushed",
                "manifest": version,
                "models": [f"{champion.model}:{champion.version}" for champion in champions],
            }
        )

    async def _report(self) -> None:
        told: dict[str, int] | None = None
        while True:
            await asyncio.sleep(self._settings.report_s)
            if (counts := dict(self._counts)) != told:
                told = counts
                self._emit({"event": "ingested", **counts})

    async def _keep_trying(self, work: Callable[[], T]) -> T:
        return await self._training.outlast(partial(self._in_writer, work))

    async def _in_writer(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)


def describe(training: Training) -> Iterable[dict[str, Any]]:
    """Return id, version, sha256, assets, rows and took_s of each model of a training."""
    for model in training.models:
        yield {
            "id": model.card.id,
            "version": model.card.version,
            "sha256": model.sha256,
            "assets": len(model.card.assets),
            "rows": int(model.card.provenance["rows"]),
            "took_s": round(training.took_s, 3),
        }


async def publish_all(session: Session, retained: Iterable[Retained]) -> None:
    """Publish retained messages side by side; return when the broker has them all."""
    async with asyncio.TaskGroup() as tasks:
        for message in retained:
            tasks.create_task(session.publish(message.topic, message.payload, retain=True))


def clock_us() -> int:
    """Return the wall clock, microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000
