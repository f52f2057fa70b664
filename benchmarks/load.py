"""The load: what message number i of a fleet of sensors holds. The same number, the same bytes."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import mqtt5

__all__ = ["EPOCH_MS", "Load"]

EPOCH_MS = 1_700_000_000_000
PERIOD_MS = 1000
TABLE = 4096
ROOT = "vedette/v1"

_random = random.Random(7)
NOISE = [0.3 * _random.gauss(0.0, 1.0) for _ in range(TABLE)]
WAVE = [3.0 * math.sin(2 * math.pi * step / TABLE) for step in range(TABLE)]


@dataclass(frozen=True, slots=True)
class Load:
    """Assets that report in turn, once a second of event time, one message a row.

    Each channel is a wave with its own phase plus noise: nothing that ought to raise an alert.
    """

    assets: int
    channels: int = 1
    prefix: str = "s"

    @property
    def streams(self) -> int:
        """Streams: one channel of one asset each."""
        return self.assets * self.channels

    def asset(self, number: int) -> str:
        """Name of asset 0, 1, ..."""
        return f"{self.prefix}{number:06d}"

    def value(self, asset: int, channel: int, row: int) -> float:
        """Value of one channel, without a unit."""
        stream = asset * self.channels + channel
        wave = WAVE[(row * 83 + stream * 37) % TABLE]
        return 20.0 + channel + wave + NOISE[(row * 1009 + stream * 641) % TABLE]

    def payload(self, asset: int, row: int) -> bytes:
        """One row as our own sensors publish it."""
        values = ",".join(
            f'"ch{channel}":{self.value(asset, channel, row):.4f}'
            for channel in range(self.channels)
        )
        time_ms = EPOCH_MS + row * PERIOD_MS
        return f'{{"id":["bench",{row + 1}],"t":{time_ms},"values":{{{values}}}}}'.encode()

    def packet(self, message: int) -> bytes:
        """PUBLISH packet of message 0, 1, ..., at QoS 1."""
        row, asset = divmod(message, self.assets)
        return mqtt5.PublishPacket(
            f"{ROOT}/readings/{self.asset(asset)}",
            self.payload(asset, row),
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            packet_id=message % 65_535 + 1,
        ).write()
