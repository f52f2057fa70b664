"""A steady load with alerts now and then that goes on when the broker has been away."""

from __future__ import annotations

import contextlib
import time

import mqtt5

from benchmarks.client import Client
from benchmarks.load import EPOCH_MS, PERIOD_MS, ROOT, Load

__all__ = ["Steady"]

OUTLIER = 5000.0
ALERT_EVERY_S = 20.0
ALERT_ROWS = 4
"""Rows of an asset that are outliers: more than the bundled model's rule wants."""


class Steady:
    """Publishes message after message at its rate, also those that a broken connection lost."""

    def __init__(self, port: int, load: Load, *, rate: float) -> None:
        self.published = 0
        """Messages handed to a connection."""
        self.reconnects = 0
        self.alerts = 0
        """Assets that were made to raise one."""
        self._port = port
        self._load = load
        self._rate = rate
        self._client: Client | None = None
        self._ill: dict[int, int] = {}
        self._began_s = self._next_alert_s = time.monotonic()

    def go_on(self) -> None:
        """Publish what is due by now."""
        now_s = time.monotonic()
        if now_s >= self._next_alert_s:
            self._next_alert_s = now_s + ALERT_EVERY_S
            self._ill[self.alerts * 7 % self._load.assets] = ALERT_ROWS
            self.alerts += 1
        due = int((now_s - self._began_s) * self._rate)
        client = self._connected()
        if client is None or due <= self.published:
            return
        try:
            client.send(b"".join(map(self._packet, range(self.published, due))))
            while client.packets(0.0):
                pass
        except OSError:
            self.close()
        self.published = due

    def close(self) -> None:
        """Give the connection up."""
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None

    def _connected(self) -> Client | None:
        if self._client is None:
            with contextlib.suppress(OSError):
                self._client = Client(self._port, name="steady")
                self.reconnects += 1
        return self._client

    def _packet(self, message: int) -> bytes:
        row, asset = divmod(message, self._load.assets)
        if not self._ill.get(asset):
            return self._load.packet(message)
        self._ill[asset] -= 1
        time_ms = EPOCH_MS + row * PERIOD_MS
        payload = f'{{"id":["bench",{row + 1}],"t":{time_ms},"values":{{"ch0":{OUTLIER}}}}}'
        topic = f"{ROOT}/readings/{self._load.asset(asset)}"
        qos = mqtt5.QoS.AT_LEAST_ONCE
        packet_id = message % 65_535 + 1
        return mqtt5.PublishPacket(topic, payload.encode(), qos=qos, packet_id=packet_id).write()
