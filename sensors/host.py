"""This machine's own sensors, by psutil."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count as counted

import psutil

from sensors.encoder import SourceEncoder, kept_body
from sensors.keptpublisher import KeptPublisher
from sensors.publisher import Publisher
from sensors.recording import Channel, Row
from wire.topics import safe_name

__all__ = ["Host", "keep_host", "publish_host"]

COUNTERS = (
    Channel("disk_read", "B/s"),
    Channel("disk_write", "B/s"),
    Channel("net_received", "B/s"),
    Channel("net_sent", "B/s"),
)
GAUGES = (
    Channel("cpu", "%"),
    Channel("load_1m", "1"),
    Channel("memory", "%"),
    Channel("swap", "%"),
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the machine."""

    t_us: int
    gauges: list[float]
    counters: list[float]
    """Bytes since the machine started."""
    temperatures: dict[str, float]


class Host:
    """Reads the machine; temperature channels are those present at the first look."""

    def __init__(self) -> None:
        psutil.cpu_percent()
        self._last = sample()

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels of every row."""
        temperatures = (Channel(name, "degC") for name in self._last.temperatures)
        return (*GAUGES, *COUNTERS, *temperatures)

    def row(self) -> Row:
        """Look again; rates are means since the look before, NaN stands for what is gone."""
        before, now = self._last, sample()
        elapsed_s = (now.t_us - before.t_us) / 1e6
        rates = [
            (new - old) / elapsed_s if elapsed_s > 0 else math.nan
            for new, old in zip(now.counters, before.counters, strict=True)
        ]
        heat = [now.temperatures.get(name, math.nan) for name in before.temperatures]
        kept = dict(zip(before.temperatures, heat, strict=True))
        self._last = Sample(now.t_us, now.gauges, now.counters, kept)
        return Row(now.t_us, [*now.gauges, *rates, *heat])


def sample() -> Sample:
    """Look at the machine."""
    disk, net = psutil.disk_io_counters(), psutil.net_io_counters()
    return Sample(
        t_us=time.time_ns() // 1000,
        gauges=[
            psutil.cpu_percent(),
            psutil.getloadavg()[0],
            psutil.virtual_memory().percent,
            psutil.swap_memory().percent,
        ],
        counters=[
            disk.read_bytes if disk else math.nan,
            disk.write_bytes if disk else math.nan,
            net.bytes_recv if net else math.nan,
            net.bytes_sent if net else math.nan,
        ],
        temperatures=dict(temperatures()),
    )


def temperatures() -> Iterator[tuple[str, float]]:
    """Yield (channel, degrees Celsius) of every sensor that this machine tells of."""
    read = getattr(psutil, "sensors_temperatures", dict)
    for chip, entries in read().items():
        for number, entry in enumerate(entries):
            name = safe_name(f"temperature_{chip}_{entry.label or number}")
            yield name, math.nan if entry.current is None else float(entry.current)


def keep_host(
    host: Host,
    *,
    publisher: KeptPublisher,
    source: str,
    period_s: float,
    rows: int | None = None,
) -> None:
    """Keep a row each period and publish it, then wait until all are confirmed.

    None = until interrupted. Raises PublishError or KeptFileError.
    """
    names = [channel.name for channel in host.channels]
    started_s = time.monotonic()
    for number in range(1, rows + 1) if rows is not None else counted(1):
        publisher.serve(max(0.0, started_s + number * period_s - time.monotonic()))
        publisher.keep(source, kept_body(names, host.row()))
    publisher.drain()


def publish_host(
    host: Host,
    *,
    publisher: Publisher,
    topic: str,
    epoch: str,
    period_s: float,
    rows: int | None = None,
) -> None:
    """Publish a row each period, the first after one period; None = until interrupted.

    Raises PublishError.
    """
    encoder = SourceEncoder([channel.name for channel in host.channels], epoch=epoch)
    started_s = time.monotonic()
    for number in range(1, rows + 1) if rows is not None else counted(1):
        publisher.serve(max(0.0, started_s + number * period_s - time.monotonic()))
        payload = encoder.encode(host.row())
        if payload is not None:
            publisher.publish(topic, payload)
    publisher.drain()
