"""The cloud is away while readings come in; then it is back: how fast is everything confirmed?

Live readings go on meanwhile, and so do live alerts, which must not wait for the backlog.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mqtt5

from benchmarks.client import Client
from benchmarks.latency import EVERY_S, Latencies, Probe
from benchmarks.load import Load
from benchmarks.process import OTHER_CORE, subject
from benchmarks.report import BenchmarkError, Report
from benchmarks.stand import Setting, Stand, open_broker, open_gateway, paced_blast, read_status
from benchmarks.stored import read_head, read_stored
from vedette.broker import free_port
from wire.topics import Topics

__all__ = ["measure_outage"]

LIVE_RATE = 1000.0
"""Messages a second that go on coming: each of 1,000 streams once a second."""
POLL_S = 0.01
LONG_S = 300.0
LAST_WORD_S = 1.0


@dataclass(slots=True)
class Drained:
    """When what happened, on the monotonic clock, and what it was about."""

    readings: int
    """Readings of the summaries that waited."""
    back_s: float
    """The cloud was back."""
    connected_s: float = 0.0
    """The gateway's first word came."""
    confirmed_s: float = 0.0
    """Everything that had waited was confirmed."""

    @property
    def rate(self) -> float:
        """Readings a second from the gateway's first word on."""
        return self.readings / (self.confirmed_s - self.connected_s)


def measure_outage(report: Report, folder: Path, load: Load, readings: int) -> None:
    """Build a backlog, bring the cloud back and report."""
    probes = min(max(readings // 100, 20), 100 if report.quick else 200)
    port = free_port()
    with uplink_stand(folder, load, port) as stand, Client(stand.broker.port, name="probe") as site:
        with cloud(folder, port):
            stand.run(min(load.assets, readings))
            await_confirmed(stand)
        cost = stand.run(readings)
        probe = Probe(site, Load(probes, prefix="probe"))
        probe.warm_up()
        stand.settle()
        pending = read_stored(stand.storage).pending_readings
        with cloud(folder, port):
            drained = Drained(pending, time.monotonic())
            drain(stand, probe, port, drained)
            stand.more_readings += probe.readings
            stand.check()
    tell(report, drained, probe.found, cost.rate)


def tell(report: Report, drained: Drained, found: Latencies, load_rate: float) -> None:
    """Report how fast the backlog went, and how late alerts were: beside it, and all of them."""
    took_s = drained.confirmed_s - drained.back_s
    during = [
        ms
        for ms, sent_s in zip(found.alerts_ms, found.sent_s, strict=True)
        if sent_s <= drained.confirmed_s
    ]
    cuts = statistics.quantiles(found.alerts_ms, n=100, method="inclusive")
    report.add(
        outage_pending_readings=drained.readings,
        outage_load_readings_per_s=round(load_rate),
        outage_reconnected_s=round(drained.connected_s - drained.back_s, 2),
        outage_confirmed_s=round(took_s, 2),
        drain_readings_per_s=round(drained.rate),
        drain_live_readings_per_s=LIVE_RATE,
        drain_ratio=round(drained.rate / LIVE_RATE, 1),
        drain_ratio_to_load=round(drained.rate / load_rate, 2),
        drain_alerts=len(during),
        drain_alert_slowest_ms=round(max(during, default=0.0), 1),
        alerts_then=len(found.alerts_ms),
        alerts_then_p50_ms=round(cuts[49], 1),
        alerts_then_p99_ms=round(cuts[98], 1),
    )


@contextlib.contextmanager
def uplink_stand(folder: Path, load: Load, port: int) -> Iterator[Stand]:
    """Run a gateway whose cloud is behind a broker of its own, not there yet."""
    with open_broker(folder / "site") as broker:
        Setting(uplink=f"mqtt://127.0.0.1:{port}").write(folder, broker.url)
        with open_gateway(folder) as gateway:
            read_status(broker, presence="online")
            yield Stand(broker, gateway, load, folder, folder / "data")


@contextlib.contextmanager
def cloud(folder: Path, port: int) -> Iterator[None]:
    """Run the cloud's broker and who answers there."""
    arguments = ("-m", "benchmarks.confirmer", "--port", str(port))
    with (
        open_broker(folder / "uplink", port=port),
        subject(*arguments, log=folder / "confirmer.log", core=OTHER_CORE) as confirmer,
    ):
        confirmer.await_line("ready")
        yield


def drain(stand: Stand, probe: Probe, port: int, drained: Drained) -> None:
    """Raise alerts beside live readings until the backlog is confirmed; note when that is."""
    with Client(port, name="ear") as ear:
        ear.subscribe(Topics().all_gateways("confirm"))
        drained.connected_s = await_publication(ear)
    watcher = threading.Thread(target=watch, args=(stand, drained), name="watcher")
    watcher.start()
    messages = int(LIVE_RATE * (probe.load.assets * EVERY_S + LAST_WORD_S))
    with Client(port, name="probe-uplink") as probe.uplink:
        probe.uplink.subscribe(Topics().all_gateways("alerts"))
        with paced_blast(stand, messages=messages, rate=LIVE_RATE):
            probe.run()
    watcher.join()
    if len(probe.found.alerts_ms) < probe.load.assets:
        raise BenchmarkError(f"expected {probe.load.assets} alerts, got {probe.found}")


def watch(stand: Stand, drained: Drained) -> None:
    """Note when what has been sent so far is confirmed."""
    drained.confirmed_s = await_confirmed(stand)


def await_confirmed(stand: Stand) -> float:
    """Wait until all that is in the outbox now is confirmed; return the moment."""
    wanted = read_head(stand.storage).lanes
    deadline_s = time.monotonic() + LONG_S
    while time.monotonic() < deadline_s:
        confirmed = read_head(stand.storage).confirmed
        if all(confirmed.get(lane, 0) >= seq for lane, seq in wanted.items()):
            return time.monotonic()
        time.sleep(POLL_S)
    raise BenchmarkError(f"expected {wanted} to be confirmed, got {confirmed}")


def await_publication(client: Client) -> float:
    """Wait for any message; return the moment it came."""
    deadline_s = time.monotonic() + LONG_S
    while time.monotonic() < deadline_s:
        if any(isinstance(packet, mqtt5.PublishPacket) for packet in client.packets(1.0)):
            return time.monotonic()
    raise BenchmarkError(f"expected the gateway to come back within {LONG_S} s")
