"""Sends the outbox up: what is new at once, a backlog in order, again what was lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from gateway.durable.cursor import Answer, Cursor
from gateway.durable.gaps import Gap
from gateway.durable.kept import Kept
from gateway.durable.sendlane import SendLane
from gateway.outbox import Entry
from wire.codec import encode_json
from wire.messages import ConfirmRequest, StoredMessage
from wire.mqtt import MqttError, PacketTooLargeError, Session, SessionClosedError
from wire.topics import Topics

__all__ = ["Drain", "Load"]

log = logging.getLogger("vedette.gateway")

LOAD_BYTES = 1_000_000
ASK_S = 1.0
ASK_CAP_S = 10.0
REFUSED_S = 30.0
PROMISED = 256

Load = Callable[[str, int, int], Awaitable[list[Kept]]]
"""(epoch, after seq, most bytes) to entries of a lane."""


class Drain:
    """Publishes the lanes of the outbox on the uplink and follows what the cloud confirms.

    Urgent lanes go first and never wait for the cloud; bulk waits for its first answer where there
    has ever been a cloud, so that a storage that was set back is noticed before it does harm.
    """

    def __init__(
        self,
        session: Session,
        cursors: Iterable[Cursor],
        *,
        topics: Topics,
        gateway: str,
        load: Load,
        lost: Callable[[Gap], None],
        promise: Callable[[str, int], Awaitable[None]],
        cloud_known: bool,
    ) -> None:
        self.session = session
        self.refused = 0
        self.sent_bytes: Counter[str] = Counter()
        """Payload bytes that the broker has acknowledged, by kind."""
        self.cloud_known = cloud_known
        """Whether a cloud has ever confirmed anything."""
        self.set_back = ""
        """How the cloud has more than was ever sent, in words; empty = it has not."""
        self._topic = topics.gateway(gateway, "confirm")
        self._gateway = gateway
        self._load = load
        self._lost = lost
        self._promise = promise
        self._lanes = {cursor.epoch: SendLane(cursor) for cursor in cursors}
        self._more = asyncio.Event()
        self._more.set()
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._progressed = False

    def offer(self, entries: Iterable[Entry]) -> None:
        """Note entries that have just been committed."""
        for entry in entries:
            lane = self._lanes.get(entry.epoch)
            if lane is None:
                before = entry.seq - 1
                cursor = Cursor(entry.epoch, confirmed=before, sent=before, last=before)
                lane = self._lanes[entry.epoch] = SendLane(cursor)
            lane.offer(entry)
        self._more.set()

    def take_answer(self, message: StoredMessage) -> int | None:
        """Take in what the cloud has stored; return the seq to forget up to, where that is news."""
        lane = self._lanes.get(message.epoch)
        if lane is None:
            return None
        self.cloud_known = True
        before = lane.cursor.confirmed
        match lane.cursor.take_answer(message.seq, asked=message.asked):
            case Answer.LOST:
                lane.clear()
                lane.lost += 1
            case Answer.SET_BACK:
                self._tell_set_back(lane.cursor, message.seq)
            case _:
                lane.forget_confirmed()
        self._answered.set()
        self._more.set()
        self._changed.set()
        if lane.cursor.confirmed <= before:
            return None
        self._progressed = True
        lane.lost = 0
        return lane.cursor.confirmed

    def reload(self, epochs: Iterable[str]) -> None:
        """Forget what is in memory of these lanes: it has changed on the disk."""
        for epoch in set(epochs):
            if epoch in self._lanes:
                self._lanes[epoch].clear()
        self._more.set()

    @property
    def stuck(self) -> str:
        """Which message the cloud does not take, however often it is sent; empty = none."""
        found = [lane.cursor for lane in self._lanes.values() if lane.is_stuck]
        return "; ".join(
            f"the cloud does not take message {cursor.confirmed + 1} of {cursor.epoch}: "
            "its table of rejected messages tells why"
            for cursor in found
        )

    def is_unsent(self, entry: Entry) -> bool:
        """Whether an entry has never been handed to the broker, so that it may still change."""
        lane = self._lanes.get(entry.epoch)
        return lane is not None and entry.seq > lane.cursor.promised

    async def run(self) -> None:
        """Publish and ask for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_on(), name="confirm")
            while True:
                await self._more.wait()
                self._more.clear()
                while (lane := self._next_lane()) is not None:
                    if not lane.queue:
                        await self._fill(lane)
                        continue
                    if lane.queue[0].seq > lane.cursor.promised:
                        await self._promise_up_to(lane.queue[0].seq + PROMISED, lane.cursor)
                        continue
                    entry = lane.take()
                    group.create_task(self._publish(lane, entry), name=f"publish {entry.topic}")

    async def drained(self) -> None:
        """Wait until all is confirmed; where no cloud has answered, until the broker has it."""
        while not self._is_drained():
            self._changed.clear()
            await self._changed.wait()

    def _is_drained(self) -> bool:
        lanes = self._lanes.values()
        if self.cloud_known:
            return not any(lane.cursor.unconfirmed for lane in lanes)
        return not any(lane.cursor.unsent or lane.flying for lane in lanes)

    def _next_lane(self) -> SendLane | None:
        lanes = sorted(self._lanes.values(), key=lambda lane: not lane.cursor.is_urgent)
        ready = (lane for lane in lanes if lane.may_send(cloud_known=self.cloud_known))
        return next(ready, None)

    async def _promise_up_to(self, seq: int, cursor: Cursor) -> None:
        """Note on the disk that so much may have been sent, before it is."""
        cursor.promised = seq  # at once: from now on they may not change
        await self._promise(cursor.epoch, seq)

    async def _fill(self, lane: SendLane) -> None:
        """Load the next entries; what is damaged or gone is reported as lost."""
        cursor = lane.cursor
        after, version = cursor.sent, lane.version
        loaded = await self._load(cursor.epoch, after, LOAD_BYTES)
        if cursor.sent != after or lane.version != version or lane.queue:
            return  # it has changed meanwhile
        for kept in loaded:
            if kept.sound:
                lane.put(kept.entry)
            else:
                seq = kept.entry.seq
                counted = (kept.entry.readings,) if kept.entry.readings else ()
                kind = kept.entry.kind
                self._lost(Gap("corrupt", cursor.epoch, seq, seq, kind=kind, readings=counted))
        if not lane.queue:
            cursor.sent = cursor.last  # what is left has been dropped, and reported by who did

    async def _publish(self, lane: SendLane, entry: Entry) -> None:
        try:
            await self.session.publish(entry.topic, entry.payload)
        except SessionClosedError:
            return
        except PacketTooLargeError as error:
            self._refuse(entry, error)
            number, counted = entry.seq, (entry.readings,)
            kind = entry.kind
            self._lost(Gap("too_large", entry.epoch, number, number, kind=kind, readings=counted))
        except MqttError as error:
            self._refuse(entry, error)
            await asyncio.sleep(REFUSED_S)
        else:
            self.sent_bytes[entry.kind] += len(entry.payload)
        finally:
            lane.flying -= 1
            self._more.set()
            self._changed.set()

    def _refuse(self, entry: Entry, error: MqttError) -> None:
        self.refused += 1
        level = logging.DEBUG if self.refused > 1 else logging.WARNING
        log.log(level, "publish refused, and counted from now on: %s %s", entry.topic, error)

    async def _ask_on(self) -> None:
        pause_s = ASK_S
        while True:
            await asyncio.sleep(pause_s)
            asked = [lane.cursor for lane in self._lanes.values() if lane.cursor.unconfirmed]
            self._answered.clear()
            self._progressed = not asked
            for cursor in asked:
                await self._ask(cursor)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_S if asked else 0):
                    await self._answered.wait()
            # What is refused again and again, and a cloud that is away, are asked ever less.
            pause_s = ASK_S if self._progressed else min(2 * pause_s, ASK_CAP_S)

    async def _ask(self, cursor: Cursor) -> None:
        request = ConfirmRequest(
            sender=self._gateway,
            epoch=cursor.epoch,
            first=cursor.confirmed + 1,
            last=cursor.sent,
        )
        try:
            await self.session.publish(self._topic, encode_json(request))
        except SessionClosedError:
            return
        except MqttError as error:
            log.debug("not asked: %s", error)

    def _tell_set_back(self, cursor: Cursor, seq: int) -> None:
        self.set_back = (
            f"{cursor.epoch}: expected the cloud to hold at most {cursor.last}, got {seq}: "
            "this gateway's storage was set back"
        )
