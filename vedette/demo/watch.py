"""Watches the demo from outside, as any subscriber could."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sensors.publisher import Publisher
from vedette.client import open_client
from vedette.demo.stage import GATEWAY
from vedette.subscribe import subscribe
from wire.codec import decode_json, decode_readings
from wire.messages import AlertEvent, GatewayStatus
from wire.topics import Topics

__all__ = ["Stopwatch", "Watch"]


class Stopwatch(Publisher):
    """A publisher that remembers when it published each source's time stamp."""

    def __init__(self, broker: str) -> None:
        super().__init__(broker)
        self.published_s: dict[tuple[str, float], float] = {}

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish, and note the moment."""
        source = topic.rsplit("/", 1)[-1]
        for message in decode_readings(payload):
            self.published_s[source, message.t] = time.monotonic()
        super().publish(topic, payload)


@dataclass(slots=True)
class Watch:
    """Everything that was heard: alerts with their moment of arrival, and the newest status."""

    url: str
    told: Callable[[AlertEvent], None]
    """Called with each alert."""
    alerts: list[tuple[float, AlertEvent]] = field(default_factory=list)
    """(monotonic seconds at arrival, alert)."""
    status: GatewayStatus | None = None
    online: GatewayStatus | None = None
    """Newest status sent while online."""
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def hear_alerts(self) -> None:
        """Collect alerts for ever."""
        async for event in subscribe(self.url):
            self.alerts.append((time.monotonic(), event))
            self.told(event)

    async def hear_status(self) -> None:
        """Follow the gateway's status for ever."""
        async with open_client(self.url) as client:
            await client.subscribe(Topics().gateway(GATEWAY, "status"), qos=1)
            async for message in client.messages:
                self.status = decode_json(bytes(message.payload), GatewayStatus)
                if self.status.presence == "online":
                    self.online = self.status
                async with self.news:
                    self.news.notify_all()

    async def until(self, holds: Callable[[GatewayStatus], bool], *, timeout_s: float) -> bool:
        """Wait for a status for which `holds`; return whether one came in time."""
        try:
            async with asyncio.timeout(timeout_s), self.news:
                await self.news.wait_for(lambda: self.status is not None and holds(self.status))
        except TimeoutError:
            return False
        return True

    def latencies_ms(self, published_s: dict[tuple[str, float], float]) -> list[float]:
        """Publish-to-alert time of each opened alert, milliseconds, rising."""
        return sorted(
            (arrived - published_s[event.data.asset, event.data.last_ms]) * 1000
            for arrived, event in self.alerts
            if event.data.state == "opened"
            and (event.data.asset, event.data.last_ms) in published_s
        )
