"""The test stand: a broker, a gateway as a user runs it, and a load."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import mqtt5

from benchmarks.asking import Asker
from benchmarks.client import Client
from benchmarks.load import Load
from benchmarks.process import ROOT, Subject, output_of, subject
from benchmarks.report import BenchmarkError
from benchmarks.stored import read_head
from vedette.broker import Broker, find_broker, free_port, start_mosquitto
from wire.codec import decode_json
from wire.messages import GatewayStatus
from wire.topics import Topics

__all__ = [
    "GATEWAY",
    "Cost",
    "Setting",
    "Stand",
    "blast",
    "blast_timed",
    "open_broker",
    "open_gateway",
    "open_stand",
    "paced_blast",
    "read_status",
]

GATEWAY = "bench"
WAIT_S = 60.0
CONFIG = """\
[gateway]
id = "{gateway}"

[site]
url = "{url}"

[models]
directory = "{models}"

[storage]
directory = "{storage}"
"""
UPLINK = """
[uplink]
url = "{url}"
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a gateway of the stand is told; folders left out lie in the stand's own."""

    models: Path | None = None
    storage: Path | None = None
    uplink: str | None = None
    """Address of the cloud's broker; None = that of the site."""

    def write(self, folder: Path, site: str) -> None:
        """Write the gateway's file into `folder`."""
        text = CONFIG.format(
            gateway=GATEWAY,
            url=site,
            models=self.models or folder / "models",
            storage=self.storage or folder / "data",
        )
        if self.uplink:
            text += UPLINK.format(url=self.uplink)
        (folder / "gateway.toml").write_text(text, "utf-8")


PLAIN = Setting()


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run cost the measured process."""

    cpu_s: float
    messages: int
    rate: float
    """Messages a second that the broker took."""
    busy: float
    """Share of its core that the measured process used while messages came."""
    commits: int = 0
    """Rows of the journal: one a commit."""
    written_bytes: int = 0
    """Bytes that it had the disk write."""

    @property
    def us_per_message(self) -> float:
        """CPU microseconds a message."""
        return self.cpu_s / self.messages * 1e6

    @property
    def commits_per_s(self) -> float:
        """Commits a second while messages came."""
        return self.commits * self.rate / self.messages


@dataclass(slots=True)
class Stand:
    """A gateway with its broker; messages are counted so that none is published twice."""

    broker: Broker
    gateway: Subject
    load: Load
    folder: Path
    storage: Path
    published: int = 0
    """Messages of the load."""
    more_readings: int = 0
    """Readings published beside the load."""

    def run(self, messages: int) -> Cost:
        """Publish the next messages and return what they cost the gateway."""
        before, row = self.gateway.cpu_s, read_head(self.storage).row
        written = self.gateway.written_bytes
        seconds = blast(self.broker, self.load, first=self.published, count=messages)
        self.published += messages
        busy = (self.gateway.cpu_s - before) / seconds
        self.settle()
        return Cost(
            self.gateway.cpu_s - before,
            messages,
            messages / seconds,
            busy,
            read_head(self.storage).row - row,
            self.gateway.written_bytes - written,
        )

    def settle(self) -> None:
        """Wait until everything published is on the disk and the gateway rests."""
        with Client(self.broker.port, name="asker") as client:
            Asker(client).ask()
        self.gateway.settle()

    def check(self) -> int:
        """Stop the gateway; raise BenchmarkError unless its last status shows every reading scored.

        Returns how many readings that were.
        """
        self.gateway.stop()
        status = read_status(self.broker, presence="offline")
        published = self.published * self.load.channels + self.more_readings
        if status.readings.get("scored") != published:
            raise BenchmarkError(f"expected {published} readings scored, got {status.readings}")
        return published


@contextlib.contextmanager
def open_broker(
    folder: Path, *, port: int = 0, options: Mapping[str, str] | None = None
) -> Iterator[Broker]:
    """Run a broker with the repository's mosquitto.conf in `folder`; port 0 = any free one.

    Other `options` than the file's need mosquitto.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = partial(start_mosquitto, overrides=options) if options else find_broker()
    with start(port=port or free_port(), directory=folder) as broker:
        yield broker


@contextlib.contextmanager
def open_stand(folder: Path, load: Load, setting: Setting = PLAIN) -> Iterator[Stand]:
    """Run broker and gateway in `folder`; wait until the gateway has subscribed."""
    with open_broker(folder / "broker") as broker:
        setting.write(folder, broker.url)
        with open_gateway(folder) as gateway:
            read_status(broker, presence="online")
            gateway.settle()
            yield Stand(broker, gateway, load, folder, setting.storage or folder / "data")


def open_gateway(folder: Path) -> contextlib.AbstractContextManager[Subject]:
    """Run the gateway of the settings in `folder`."""
    arguments = ("-m", "gateway", "--config", str(folder / "gateway.toml"))
    return subject(*arguments, log=folder / "gateway.log")


def blast(broker: Broker, load: Load, *, first: int, count: int) -> float:
    """Publish messages of the load as fast as the broker takes them; return the seconds."""
    return blast_timed(broker, load, first=first, count=count)[1]


def blast_timed(broker: Broker, load: Load, *, first: int, count: int) -> tuple[float, float]:
    """Publish as `blast` does; return the moment it began, and the seconds."""
    result = output_of(*blaster(broker, load, first=first, count=count))
    return result["began"], result["seconds"]


@contextlib.contextmanager
def paced_blast(stand: Stand, *, messages: int, rate: float) -> Iterator[None]:
    """Publish the next messages meanwhile, `rate` a second; wait for the last one."""
    first, stand.published = stand.published, stand.published + messages
    command = blaster(stand.broker, stand.load, first=first, count=messages)
    process = subprocess.Popen(
        [sys.executable, *command, "--rate", str(rate)], stdout=subprocess.DEVNULL, cwd=ROOT
    )
    try:
        yield
        process.wait(WAIT_S)
    finally:
        process.kill()
        process.wait()


def blaster(broker: Broker, load: Load, *, first: int, count: int) -> list[str]:
    """Return the arguments that make Python publish messages of the load."""
    options = {
        "port": broker.port,
        "assets": load.assets,
        "channels": load.channels,
        "first": first,
        "count": count,
    }
    given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return ["-m", "benchmarks.blaster", *given]


def read_status(broker: Broker, *, presence: str) -> GatewayStatus:
    """Wait for the gateway's retained status with this presence."""
    deadline = time.monotonic() + WAIT_S
    with Client(broker.port, name="status") as client:
        client.subscribe(Topics().gateway(GATEWAY, "status"))
        while time.monotonic() < deadline:
            for packet in client.packets(1.0):
                if isinstance(packet, mqtt5.PublishPacket):
                    status = decode_json(bytes(packet.payload), GatewayStatus)
                    if status.presence == presence and status.version:
                        return status
    raise BenchmarkError(f"expected the gateway to be {presence} within {WAIT_S} s")
