"""Publish-to-alert latency beside a bare echo, both under the same load and through one broker."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import mqtt5

from benchmarks.client import Client
from benchmarks.echo import ANSWER, QUESTION
from benchmarks.load import EPOCH_MS, PERIOD_MS, ROOT, Load
from benchmarks.process import subject
from benchmarks.report import BenchmarkError
from benchmarks.stand import Stand, paced_blast
from gateway.models.shelf import BUNDLED
from wire.codec import decode_json
from wire.contract import read_model
from wire.messages import AlertEvent
from wire.topics import Topics

__all__ = ["Latencies", "Probe", "measure"]

RATE = 5000.0
EVERY_S = 0.05
AHEAD_S = 0.01
OUTLIER = 5000.0
WARM_ROWS = 96
LAST_WORD_S = 2.0


@dataclass(slots=True)
class Latencies:
    """Milliseconds of each probe, in order of arrival."""

    alerts_ms: list[float] = field(default_factory=list)
    sent_s: list[float] = field(default_factory=list)
    """Moment of publication of each alert's reading, on the monotonic clock."""
    echoes_ms: list[float] = field(default_factory=list)
    core_share: float = 0.0
    """Share of its core that the gateway used meanwhile."""


def measure(stand: Stand, *, probes: int) -> Latencies:
    """Raise one alert each 50 ms, each on an asset of its own, beside RATE messages a second.

    Latency counts from the publish of the reading that completes the rule of the bundled model.
    """
    log = stand.folder / "echo.log"
    with (
        subject("-m", "benchmarks.echo", "--port", str(stand.broker.port), log=log) as echo,
        Client(stand.broker.port, name="probe") as client,
    ):
        echo.await_line("ready")
        client.subscribe(Topics().all_gateways("alerts"))
        client.subscribe(ANSWER)
        probe = Probe(client, Load(probes, prefix="probe"))
        probe.warm_up()
        stand.settle()
        messages = int(RATE * (probes * EVERY_S + 1.0))
        used_s, began_s = stand.gateway.cpu_s, time.monotonic()
        with paced_blast(stand, messages=messages, rate=RATE):
            probe.run()
        share = (stand.gateway.cpu_s - used_s) / (time.monotonic() - began_s)
        probe.found.core_share = share
    stand.settle()
    stand.more_readings += probe.readings
    if len(probe.found.alerts_ms) < probes:
        raise BenchmarkError(f"expected {probes} alerts, got {len(probe.found.alerts_ms)}")
    return probe.found


@dataclass(slots=True)
class Probe:
    """Publishes outliers and echoes on time and notes what comes back."""

    client: Client
    load: Load
    uplink: Client | None = None
    """Where alerts are awaited, when not on the client's own broker; then there are no echoes."""
    found: Latencies = field(default_factory=Latencies)
    sent_s: dict[str, float] = field(default_factory=dict)
    """Moment of publication by asset, or by number of the echo."""

    readings: int = 0
    """Readings published."""

    def warm_up(self) -> None:
        """Give every probed asset enough ordinary rows, in one message each."""
        for asset in range(self.load.assets):
            rows = b",".join(self.load.payload(asset, row) for row in range(WARM_ROWS))
            self.client.publish(f"{ROOT}/readings/{self.load.asset(asset)}", b"[%b]" % rows)
            self.client.packets(0.0)
            self.readings += WARM_ROWS

    def run(self) -> None:
        """Play the schedule; then wait a little for the last answers."""
        began = time.monotonic() + 0.5
        for due_s, asset, row in schedule(self.load.assets):
            self._listen_until(began + due_s)
            if row < 0 and self.uplink is None:
                self.sent_s[str(asset)] = time.monotonic()
                self.client.publish(QUESTION, str(asset).encode())
            elif row >= 0:
                self._publish_outlier(asset, row)
        self._listen_until(time.monotonic() + LAST_WORD_S)

    def _publish_outlier(self, asset: int, row: int) -> None:
        time_ms = EPOCH_MS + row * PERIOD_MS
        name = self.load.asset(asset)
        payload = f'{{"id":["bench",{row + 1}],"t":{time_ms},"values":{{"ch0":{OUTLIER}}}}}'
        self.sent_s[f"{name} {time_ms}"] = time.monotonic()
        self.client.publish(f"{ROOT}/readings/{name}", payload.encode())
        self.readings += 1

    def _listen_until(self, moment_s: float) -> None:
        while (left_s := moment_s - time.monotonic()) > 0:
            if self.uplink is not None:
                self.client.packets(0.0)
            packets = (self.uplink or self.client).packets(left_s)
            now_s = time.monotonic()
            for packet in packets:
                if isinstance(packet, mqtt5.PublishPacket):
                    self._note(packet, now_s)

    def _note(self, packet: mqtt5.PublishPacket, now_s: float) -> None:
        if packet.topic == ANSWER:
            sent_s = self.sent_s[bytes(packet.payload).decode()]
            self.found.echoes_ms.append((now_s - sent_s) * 1000)
            return
        alert = decode_json(bytes(packet.payload), AlertEvent).data
        sent = self.sent_s.get(f"{alert.asset} {alert.last_ms:.0f}")
        if alert.state == "opened" and sent is not None:
            self.found.alerts_ms.append((now_s - sent) * 1000)
            self.found.sent_s.append(sent)


def schedule(probes: int) -> Iterator[tuple[float, int, int]]:
    """Yield (due seconds, asset, row) in order; row -1 is an echo.

    The rule wants k anomalous rows: k - 1 go ahead, the last one is what is timed.
    """
    k = read_model(BUNDLED.read_bytes()).card.alert.k
    for asset in range(probes):
        due_s = asset * EVERY_S
        for row in range(k - 1):
            yield due_s, asset, WARM_ROWS + row
        yield due_s + AHEAD_S, asset, WARM_ROWS + k - 1
        yield due_s + EVERY_S / 2, asset, -1
