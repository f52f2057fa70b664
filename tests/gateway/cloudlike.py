"""The cloud's part of the confirmations: it takes messages in and says what it has of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.gateway.running import TOPICS
from wire.blocks import decode_excerpt, decode_summaries
from wire.codec import decode_json, encode_json
from wire.messages import ConfirmRequest, StoredMessage
from wire.mqtt import Endpoint, Session

KINDS = ("summaries", "excerpts", "alerts", "gaps", "confirm")


@dataclass
class CloudLike:
    """Stores every message once, in memory, in the order in which they came."""

    session: Session
    stored: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Epoch of a lane to the numbers that came, each once."""
    arrived: list[tuple[str, str, int]] = field(default_factory=list)
    """(kind, epoch, seq), in order of arrival."""
    repeated: int = 0
    readings: int = 0
    requests: list[ConfirmRequest] = field(default_factory=list)
    boast: int = 0
    """Added to the number in every answer: a cloud that has seen more than this gateway knows."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        while True:
            inbound = await self.session.receive(linger_s=0.005)
            for packet in inbound.packets:
                self._take(packet.topic.split("/")[4], bytes(packet.payload or b""))
            self.session.acknowledge(inbound)
            for request in self.requests:
                await self._answer(request)
            self.requests.clear()
            self.changed.set()

    async def until_confirmed(self, epoch: str, seq: int) -> None:
        async with asyncio.timeout(20):
            while self.prefix(epoch) < seq:
                self.changed.clear()
                await self.changed.wait()

    def prefix(self, epoch: str) -> int:
        have = set(self.stored[epoch])
        seq = 0
        while seq + 1 in have:
            seq += 1
        return seq

    def _take(self, kind: str, payload: bytes) -> None:
        if kind == "confirm":
            self.requests.append(decode_json(payload, ConfirmRequest))
            return
        epoch, seq, readings = numbered(kind, payload)
        if seq in self.stored[epoch]:
            self.repeated += 1
            return
        self.stored[epoch].append(seq)
        self.arrived.append((kind, epoch, seq))
        self.readings += readings

    async def _answer(self, request: ConfirmRequest) -> None:
        message = StoredMessage(
            gateway=request.sender,
            epoch=request.epoch,
            seq=self.prefix(request.epoch) + self.boast,
            asked=request.last,
        )
        topic = TOPICS.gateway(request.sender, "cmd", "stored")
        await self.session.publish(topic, encode_json(message))


def numbered(kind: str, payload: bytes) -> tuple[str, int, int]:
    """Epoch, number and count of readings of a message."""
    if kind == "summaries":
        block = decode_summaries(payload)
        return block.epoch, block.seq, int(block.rows.count.sum())
    if kind == "excerpts":
        excerpt = decode_excerpt(payload)
        return excerpt.epoch, excerpt.seq, 0
    event = json.loads(payload)
    return event["epoch"], event["seq"], 0


@contextlib.asynccontextmanager
async def cloud_like(port: int) -> AsyncIterator[CloudLike]:
    """Run one on the broker at this port; its session ends with it, and is resumed by the next."""
    endpoint = Endpoint(host="127.0.0.1", port=port, client_id="cloud-like")
    async with Session(endpoint) as session:
        cloud = CloudLike(session)
        await session.subscribe(*[TOPICS.all_gateways(kind) for kind in KINDS])  # type: ignore[arg-type]
        task = asyncio.create_task(cloud.run())
        try:
            yield cloud
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
