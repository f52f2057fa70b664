"""The gateway's shell: messages, the clock, signals. Everything that decides is elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from gateway.committer import Committer, Group, Unsaved
from gateway.config import Config
from gateway.decode.rules import filters_to_subscribe
from gateway.drain import Drain
from gateway.durable.ballast import Ballast
from gateway.durable.commit import Removed
from gateway.durable.gaps import Gap
from gateway.durable.kept import Kept
from gateway.durable.lanes import cursors_of, promise_key
from gateway.durable.recovery import Recovered
from gateway.edge import lane_epoch
from gateway.errors import SetBackError
from gateway.lane import Lane
from gateway.links import Links, tell
from gateway.models.receiver import Receiver
from gateway.outbox import Entry, Outbox
from gateway.pending import Pending
from gateway.retention import Retention
from gateway.subscription import subscribe_until_granted
from gateway.vitals import Vitals
from wire.codec import decode_json
from wire.errors import MessageError, WireError
from wire.messages import ConfirmRequest, StoredMessage
from wire.mqtt import (
    Cause,
    Connected,
    ConnectionState,
    Disconnected,
    Session,
)

__all__ = ["Service"]

log = logging.getLogger("vedette.gateway")

LINGER_S = 0.001
BUSY_LINGER_S = 0.004  # a batch costs about 0.2 ms whatever its size; when many come, wait for more
BUSY_MESSAGES = 48
BATCH_MESSAGES = 512
TICK_S = 1.0
STATUS_TICKS = 5
DRAIN_S = 10.0
GOODBYE_S = 2.0
MOST_FAULTS = 8
SITE_BYTES = 1_000_000


class Service:
    """Moves messages between sessions and edge; nothing is told before it is on the disk."""

    def __init__(
        self, config: Config, recovered: Recovered, links: Links, models: Path, ballast: Ballast
    ) -> None:
        self.config = config
        self.edge = recovered.edge
        self.links = links
        self.faults = recovered.faults[-MOST_FAULTS:]
        limit = int(config.outbox.limit_mb * 1e6)
        self.lanes = [Lane(session, Outbox(limit)) for session in links.distinct]
        self.committer = Committer(
            self.edge,
            recovered.database,
            ballast=ballast,
            journal_bytes=int(config.storage.journal_mb * 1e6),
            committed=self._committed,
            unsaved=Unsaved(recovered.snapshot_row, recovered.readings),
            commit_s=config.storage.commit_ms / 1000,
        )
        self.pending = Pending.of(recovered.database)
        self.drain = Drain(
            links.uplink,
            cursors_of(recovered.database, self.edge),
            topics=self.edge.topics,
            gateway=self.edge.gateway,
            load=self._load,
            lost=self._lose,
            promise=self._promise,
            cloud_known=bool(recovered.database.confirmed),
        )
        self.retention = Retention(
            int(config.storage.limit_mb * 1e6),
            committer=self.committer,
            drain=self.drain,
            lose=self._lose,
        )
        self.receiver = Receiver(
            links.uplink,
            self.edge.topics,
            self.edge.shelf,
            folder=models,
            most_rows=config.summaries.most_rows,
            changed=self._models_changed,
        )
        self.vitals = Vitals(
            self.edge, self.committer, self.pending, self.retention, self.drain, self.lanes
        )
        links.site.on_state = self._site_changed
        if links.uplink is not links.site:
            links.uplink.on_state = self._uplink_changed
        self._started = time.monotonic()
        self._last_input = time.monotonic()
        self._last_status = time.monotonic()
        self._flushed = True
        self._stop = asyncio.Event()
        self._stored_base = self.edge.ledger.summarised - self.edge.ledger.dropped
        self._stored_base -= self.pending.readings

    async def run(self) -> None:
        """Serve until told to stop; then let everything go up, say goodbye and return."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        async with asyncio.TaskGroup() as group:
            flow = [
                *(group.create_task(lane.run(), name="lane") for lane in self.lanes),
                *(group.create_task(self._take_in(one)) for one in self.links.distinct),
                group.create_task(self.committer.run(), name="commit"),
                group.create_task(self.drain.run(), name="drain"),
            ]
            await self._resend_to_site()
            jobs = [self._keep_time(), self._subscribe()]
            if self.config.models.pushed == "accept":
                jobs.append(self.receiver.run())
            work = [group.create_task(job) for job in jobs]
            await self._stop.wait()
            for task in work:
                task.cancel()
            await self._leave()
            for task in flow:
                task.cancel()

    async def _subscribe(self) -> None:
        topics = self.edge.topics
        filters = filters_to_subscribe(self.config.sources)
        await subscribe_until_granted(self.links.site, *filters, topics.all_confirms())
        self._send([self._status("online")])
        await subscribe_until_granted(self.links.uplink, topics.commands(self.edge.gateway))

    async def _take_in(self, session: Session) -> None:
        linger_s = LINGER_S
        while True:
            inbound = await session.receive(linger_s=linger_s, limit=BATCH_MESSAGES)
            linger_s = BUSY_LINGER_S if len(inbound.packets) >= BUSY_MESSAGES else LINGER_S
            take = self.edge.take_delivered if session is self.links.site else self.edge.take
            entries = take(inbound.packets, arrival_ms=time.time() * 1000)
            self._last_input, self._flushed = time.monotonic(), False
            if entries:
                self.committer.add(entries)
            self.committer.acknowledge(session, inbound)
            if self.edge.decoder.inbox:
                self._sort_inbox()
            if self.edge.failed:
                self._tell_failures()
            await self.committer.room()

    def _sort_inbox(self) -> None:
        topics = self.edge.topics
        for topic, payload in self.edge.decoder.inbox:
            if topic.startswith(f"{topics.root}/models/"):
                self.receiver.put(topic, payload)
            elif topic.startswith(f"{topics.root}/confirm/"):
                self._answer_source(topic, payload)
            elif topic == topics.gateway(self.edge.gateway, "cmd", "stored"):
                self._take_answer(topic, payload)
        self.edge.decoder.inbox.clear()

    def _answer_source(self, topic: str, payload: bytes) -> None:
        """Tell a source what is stored, after the commit that holds what came before it asked."""
        try:
            request = decode_json(payload, ConfirmRequest)
            if topic != self.edge.topics.confirm(request.sender):
                raise MessageError("wrong_source", f"expected it as in {topic}")
        except WireError as error:
            reason = error.reason if isinstance(error, MessageError) else "topic"
            self.edge.ledger.reject(reason, str(error), topic)
            return
        answer, gaps = self.edge.confirm(request)
        self.committer.add(gaps, told=[answer])

    def _take_answer(self, topic: str, payload: bytes) -> None:
        try:
            message = decode_json(payload, StoredMessage)
        except MessageError as error:
            self.edge.ledger.reject(error.reason, error.detail, topic)
            return
        if message.gateway != self.edge.gateway:
            return
        if (seq := self.drain.take_answer(message)) is not None:
            self.committer.change().confirmed[message.epoch] = seq
        if self.drain.set_back:
            raise SetBackError(self.drain.set_back)

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
            if entries := self.edge.tick():
                self.committer.add(entries)
            idle = time.monotonic() - self._last_input
            if not self._flushed and idle > self.config.summaries.idle_s:
                self._flushed = True
                await self._flush()
            paused = idle > TICK_S and self._last_input > self._last_status
            if ticks % STATUS_TICKS == 0:
                await self.retention.enforce()
                self.pending.note_rate()
                if self.drain.stuck:
                    self._fault(self.drain.stuck)
            if paused or ticks % STATUS_TICKS == 0:
                self._send([self._status("online")])

    async def _flush(self) -> None:
        for entries in self.edge.flush():
            self.committer.add(entries)
            await asyncio.sleep(0)

    async def _leave(self) -> None:
        """Send everything up, then say goodbye; the last word is about what has arrived.

        Messages are taken in all the while: the cloud's confirmations are among them, and what
        comes of readings is on the disk for the next start.
        """
        await self._flush()
        self.edge.snapshot_due = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self.committer.settled()
                await self.drain.drained()
                await self.committer.settled()
                for lane in self.lanes:
                    await lane.drained()
        self._send([self._status("offline")])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE_S):
                for lane in self.lanes:
                    await lane.drained()

    def _committed(self, group: Group, removed: Removed | None) -> None:
        """Publish what is on the disk now."""
        self.pending.add(group.kept)
        if removed is not None:
            self.pending.remove(removed)
        if group.commit.dropped or group.commit.replaced:
            self.drain.reload(epoch for epoch, _ in group.commit.dropped)
        self.edge.ledger.stored = self._stored_base + self.pending.confirmed
        self.drain.offer(group.kept)
        if self.links.site is not self.links.uplink:
            self.lanes[0].extend(entry for entry in group.kept if entry.kind == "alerts")
        self._send(group.told)

    def _lose(self, gap: Gap) -> None:
        """Report messages of our own as lost, and forget them with the same commit."""
        commit = self.committer.change()
        numbers = range(gap.first, gap.last + 1)
        commit.dropped += [(gap.lost_epoch, seq) for seq in numbers]
        self.committer.add([self.edge.report_gap(gap)])

    async def _load(self, epoch: str, after: int, most_bytes: int) -> list[Kept]:
        database = self.committer.database
        return await self.committer.in_writer(
            lambda: database.entries(epoch, after=after, most_bytes=most_bytes)
        )

    async def _promise(self, epoch: str, seq: int) -> None:
        self.committer.change().meta[promise_key(epoch)] = str(seq)
        await self.committer.settled()

    async def _resend_to_site(self) -> None:
        """Publish alerts that wait for the cloud to the site again: it may not have had them."""
        if self.links.site is self.links.uplink:
            return
        epoch = lane_epoch(self.edge.epoch, "urgent")
        kept = await self._load(epoch, 0, SITE_BYTES)
        self.lanes[0].extend(one.entry for one in kept if one.sound and one.entry.kind == "alerts")

    def _site_changed(self, state: ConnectionState) -> None:
        tell("site", state)
        if isinstance(state, Connected):
            if not state.session_present:
                self.edge.deliveries.forget()
            self._send(self.edge.states.values())
        self._note_takeover(state)

    def _uplink_changed(self, state: ConnectionState) -> None:
        tell("uplink", state)
        self._note_takeover(state)

    def _note_takeover(self, state: ConnectionState) -> None:
        if isinstance(state, Disconnected) and state.ending.cause is Cause.TAKEN_OVER:
            self._fault("another client has this gateway's id: give each gateway an id of its own")

    def _fault(self, text: str) -> None:
        if text not in self.faults:
            self.faults = [*self.faults, text][-MOST_FAULTS:]

    def _send(self, entries: Iterable[Entry]) -> None:
        """Publish what is not kept: presence and states everywhere, answers where they are due."""
        for entry in entries:
            targets = self.lanes[:1] if entry.kind == "confirmed" else self.lanes
            for lane in targets:
                lane.extend([entry])

    def _models_changed(self) -> None:
        self.edge.install()
        self._send([self._status("online")])

    def _status(self, presence: Literal["online", "offline"]) -> Entry:
        self._last_status = time.monotonic()
        uptime_s = round(time.monotonic() - self._started, 1)
        return self.vitals.entry(presence, uptime_s=uptime_s, faults=self.faults)
