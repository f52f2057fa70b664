"""The gateway's shell: sessions, the clock, signals. Everything that decides is elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import secrets
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.config import BrokerSection, Config, read_password
from gateway.decode.rules import filters_to_subscribe
from gateway.edge import Edge
from gateway.footprint import resident_mb
from gateway.lane import Lane
from gateway.models.receiver import Receiver
from gateway.models.shelf import open_shelf_blocking
from gateway.outbox import Entry, Outbox
from gateway.subscription import subscribe_until_granted
from wire.codec import encode_json
from wire.messages import GatewayStatus
from wire.mqtt import Connected, ConnectionState, Endpoint, Session, Will
from wire.version import VERSION

__all__ = ["Service", "run"]

log = logging.getLogger("vedette.gateway")

LINGER_S = 0.001
BUSY_LINGER_S = 0.004  # a batch costs about 0.2 ms whatever its size; when many come, wait for more
BUSY_MESSAGES = 48
BATCH_MESSAGES = 512
RECEIVE_MAX = 1024  # bounds what is in memory before it is processed; more gains no speed
TICK_S = 1.0
STATUS_TICKS = 5
DRAIN_S = 10.0
GOODBYE_S = 2.0


async def run(config: Config, *, folder: Path) -> None:
    """Run until SIGTERM or SIGINT; model paths are relative to `folder`.

    Starts without a broker and goes on when one goes away. Raises ConfigError.
    """
    models = folder / config.models.directory
    # Nothing else runs yet, and a thread would cost a memory arena.
    shelf = open_shelf_blocking(models, most_rows=config.summaries.most_rows)
    for reason in shelf.refused:
        log.warning("model refused: %s", reason)
    edge = Edge(config, shelf, epoch=secrets.token_hex(4))
    site = _session(config, config.site, folder, role="site")
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(site.background())
        uplink = site
        if config.uplink is not None:
            uplink = _session(config, config.uplink, folder, role="uplink")
            await stack.enter_async_context(uplink.background())
        service = Service(config, edge, Links(site, uplink), models)
        gc.collect()
        gc.freeze()
        await service.run()


@dataclass(frozen=True, slots=True)
class Links:
    """The session with the site's sensors and the one with the cloud; often the same."""

    site: Session
    uplink: Session


class Service:
    """Moves messages between the sessions and the edge."""

    def __init__(self, config: Config, edge: Edge, links: Links, models: Path) -> None:
        self.config = config
        self.edge = edge
        self.links = links
        limit = int(config.outbox.limit_mb * 1e6)
        self.lanes = [Lane(session, Outbox(limit)) for session in _distinct(links)]
        self.receiver = Receiver(
            links.uplink,
            edge.topics,
            edge.shelf,
            folder=models,
            most_rows=config.summaries.most_rows,
            changed=self._models_changed,
        )
        self._started = time.monotonic()
        self._last_input = time.monotonic()
        self._last_status = time.monotonic()
        self._flushed = True
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until told to stop; then let everything go up, say goodbye and return."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        async with asyncio.TaskGroup() as group:
            lanes = [group.create_task(lane.run(), name="lane") for lane in self.lanes]
            jobs = [
                self._keep_time(),
                self._subscribe(),
                *map(self._take_in, _distinct(self.links)),
            ]
            if self.config.models.pushed == "accept":
                jobs.append(self.receiver.run())
            work = [group.create_task(job) for job in jobs]
            await self._stop.wait()
            for task in work:
                task.cancel()
            await self._leave()
            for task in lanes:
                task.cancel()

    async def _subscribe(self) -> None:
        filters = filters_to_subscribe(self.config.sources)
        await subscribe_until_granted(self.links.site, *filters)
        self._send([self._status("online")])
        commands = self.edge.topics.commands(self.edge.gateway)
        await subscribe_until_granted(self.links.uplink, commands)

    async def _take_in(self, session: Session) -> None:
        linger_s = LINGER_S
        while True:
            inbound = await session.receive(linger_s=linger_s, limit=BATCH_MESSAGES)
            linger_s = BUSY_LINGER_S if len(inbound.packets) >= BUSY_MESSAGES else LINGER_S
            entries = self.edge.take(inbound.packets, arrival_ms=time.time() * 1000)
            self._last_input, self._flushed = time.monotonic(), False
            if entries:
                self._send(entries)
            session.acknowledge(inbound)
            if self.edge.decoder.inbox:
                self._sort_inbox()
            if self.edge.failed:
                self._tell_failures()

    def _sort_inbox(self) -> None:
        for topic, payload in self.edge.decoder.inbox:
            if topic.startswith(f"{self.edge.topics.root}/models/"):
                self.receiver.put(topic, payload)
        self.edge.decoder.inbox.clear()

    def _tell_failures(self) -> None:
        for error in self.edge.failed:
            log.warning("model out of service: %s", error)
        self.edge.failed.clear()
        self._send([self._status("online")])

    async def _keep_time(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            self._send(self.edge.tick())
            idle = time.monotonic() - self._last_input
            if not self._flushed and idle > self.config.summaries.idle_s:
                self._flushed = True
                await self._flush()
            paused = idle > TICK_S and self._last_input > self._last_status
            if paused or ticks % STATUS_TICKS == 0:
                self._send([self._status("online")])

    async def _flush(self) -> None:
        for entries in self.edge.flush():
            self._send(entries)
            await asyncio.sleep(0)

    async def _leave(self) -> None:
        """Send everything up, then say goodbye; the last word is about what has arrived."""
        await self._flush()
        await self._drain(DRAIN_S)
        self._send([self._status("offline")])
        await self._drain(GOODBYE_S)

    async def _drain(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for lane in self.lanes:
                    await lane.drained()

    def _send(self, entries: Iterable[Entry]) -> None:
        """Alerts and presence to every broker, bulk to the cloud's only."""
        entries = list(entries)
        self.lanes[-1].extend(entries)
        for lane in self.lanes[:-1]:
            lane.extend(entry for entry in entries if entry.kind not in {"summaries", "excerpts"})

    def _models_changed(self) -> None:
        self.edge.install()
        self._send([self._status("online")])

    def _status(self, presence: Literal["online", "offline"]) -> Entry:
        edge, lane = self.edge, self.lanes[-1]
        self._last_status = time.monotonic()
        directory = edge.pipeline.directory
        status = GatewayStatus(
            gateway=edge.gateway,
            presence=presence,
            version=VERSION,
            epoch=edge.epoch,
            time_ms=round(time.time() * 1000),
            uptime_s=round(time.monotonic() - self._started, 1),
            assets=directory.asset_count,
            streams=directory.stream_count,
            readings=edge.ledger.readings(),
            messages={"decoded": edge.ledger.decoded, "quarantined": edge.ledger.quarantined},
            rejected=dict(sorted(edge.ledger.rejected.items())),
            last_rejection=edge.ledger.last_rejection,
            models=edge.model_status(),
            refused_models=tuple(edge.shelf.refused),
            outbox={
                "count": lane.outbox.pending,
                "bytes": lane.outbox.size_bytes,
                "dropped": lane.outbox.dropped,
                "refused": lane.refused,
            },
            bytes_up=dict(lane.outbox.sent_bytes),
            rss_mb=round(resident_mb(), 1),
        )
        topic = edge.topics.gateway(edge.gateway, "status")
        return Entry("status", topic, encode_json(status), retain=True)


def _distinct(links: Links) -> list[Session]:
    return [links.site] if links.site is links.uplink else [links.site, links.uplink]


def _session(config: Config, section: BrokerSection, folder: Path, *, role: str) -> Session:
    gateway = config.gateway.id
    topic = config.topics.gateway(gateway, "status")
    will = Will(topic, encode_json(GatewayStatus(gateway=gateway, presence="offline")))
    given = {"username": section.username, "password": read_password(section, folder=folder)}
    files = {"ca_file": section.ca_file, "cert_file": section.cert_file}
    files["key_file"] = section.key_file
    endpoint = Endpoint.from_url(
        section.url,
        client_id=gateway if role == "site" else f"{gateway}-{role}",
        keep_alive_s=section.keep_alive_s,
        receive_max=RECEIVE_MAX,
        will=will,
        **{name: value for name, value in given.items() if value is not None},
        **{name: folder / path for name, path in files.items() if path is not None},
    )
    return Session(endpoint, on_state=lambda state: _tell(role, state))


def _tell(role: str, state: ConnectionState) -> None:
    level = logging.INFO if isinstance(state, Connected) else logging.WARNING
    log.log(level, "broker of the %s: %s", role, state)
