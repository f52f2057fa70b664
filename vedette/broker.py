"""Brokers started on this machine for the demo, the tests and the benchmarks."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from vedette.errors import VedetteError

__all__ = [
    "Broker",
    "BrokerError",
    "BrokerLauncher",
    "find_broker",
    "find_mosquitto",
    "free_port",
    "start_embedded",
    "start_mosquitto",
]

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.01
NO_OVERRIDES: Mapping[str, str] = MappingProxyType({})

EMBEDDED_CONFIG = """\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5"
listen = "{host}:{port}"
next_connection_delay_ms = 0
[v5.1.connections]
connection_timeout_ms = 10000
max_payload_size = 1048576
max_inflight_count = 100
dynamic_filters = true
"""
# rumqttd logs each packet as an error, so only what precedes its start is kept.
EMBEDDED_MAIN = """\
import logging
import sys
logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
from iotcore import IotCoreBroker
IotCoreBroker(config_path=sys.argv[1]).run_forever()
"""


class BrokerError(VedetteError):
    """A broker that could not be found or started."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that runs as a child process, listening on loopback only."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    log_file: Path
    host: str = LOOPBACK

    @property
    def url(self) -> str:
        """Its address as `mqtt://host:port`."""
        return f"mqtt://{self.host}:{self.port}"

    def kill(self) -> None:
        """End the process as a crash would (SIGKILL) and wait until it is gone."""
        self.process.kill()
        self.process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """End the process in order (SIGTERM, SIGKILL after 5 s); harmless when it has ended."""
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()


class BrokerLauncher(Protocol):
    """Starts a broker on a port of loopback, with all its files in `directory`."""

    def __call__(self, *, port: int, directory: Path) -> AbstractContextManager[Broker]:
        """Run the broker for as long as the context lasts."""
        ...


def find_broker() -> BrokerLauncher:
    """Choose mosquitto where it is installed, else the embedded broker; raise BrokerError."""
    if find_mosquitto() is not None:
        return start_mosquitto
    if importlib.util.find_spec("iotcore") is not None:
        return start_embedded
    raise BrokerError(
        "found neither mosquitto nor the embedded broker; "
        "install mosquitto, or run: pip install 'vedette[demo]'"
    )


def find_mosquitto() -> str | None:
    """Return the path of mosquitto, which Debian keeps off most users' PATH, or None."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which("mosquitto", path=places)


def free_port() -> int:
    """Return a TCP port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def start_mosquitto(
    *, port: int, directory: Path, overrides: Mapping[str, str] = NO_OVERRIDES
) -> Iterator[Broker]:
    """Run mosquitto with Vedette's mosquitto.conf, moved to `port` and `directory`.

    `overrides` maps option names to values, which replace or join the file's. What the directory
    holds of an earlier run is taken up again. Raises BrokerError when it does not come up.
    """
    program = find_mosquitto()
    if program is None:
        raise BrokerError("expected mosquitto on the PATH or in /usr/sbin; install it")
    moved = {
        "listener": f"{port} {LOOPBACK}",
        "persistence_location": f"{directory.resolve()}/",
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }
    config_file = directory / "mosquitto.conf"
    shipped = resources.files("vedette").joinpath("mosquitto.conf").read_text("utf-8")
    config_file.write_text(override_options(shipped, moved | dict(overrides)), "utf-8")
    with run_broker(
        "mosquitto", [program, "-c", str(config_file)], port=port, directory=directory
    ) as broker:
        yield broker


@contextlib.contextmanager
def start_embedded(*, port: int, directory: Path) -> Iterator[Broker]:
    """Run rumqttd, as packaged by iotcore, for MQTT 5 on loopback; it keeps nothing on disk.

    Raises BrokerError when it is not installed or does not come up.
    """
    if importlib.util.find_spec("iotcore") is None:
        raise BrokerError("expected the package iotcore; run: pip install 'vedette[demo]'")
    config_file = directory / "rumqttd.toml"
    config_file.write_text(EMBEDDED_CONFIG.format(host=LOOPBACK, port=port), "utf-8")
    command = [sys.executable, "-P", "-c", EMBEDDED_MAIN, str(config_file)]
    with run_broker("rumqttd", command, port=port, directory=directory) as broker:
        yield broker


def override_options(config: str, overrides: Mapping[str, str]) -> str:
    r"""Return a mosquitto configuration with options replaced in place, or added at the end.

    >>> override_options("listener 1883\n# why\npersistence true", {"listener": "7 ::1"})
    'listener 7 ::1\n# why\npersistence true\n'
    """
    left = dict(overrides)
    lines = []
    for line in config.splitlines():
        name = line.partition(" ")[0]
        lines.append(f"{name} {left.pop(name)}" if name in left else line)
    lines += [f"{name} {value}" for name, value in left.items()]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def run_broker(name: str, command: list[str], *, port: int, directory: Path) -> Iterator[Broker]:
    """Run a broker's process, logging to a file in `directory`, while the context lasts."""
    log_file = directory / f"{name}.log"
    with log_file.open("ab") as log:  # a group of its own: Ctrl-C is for whoever started it
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
        )
    broker = Broker(name, port, process, log_file)
    try:
        await_listening_blocking(broker)
        yield broker
    finally:
        broker.stop()


def await_listening_blocking(broker: Broker) -> None:
    """Block until the broker accepts TCP connections; raise BrokerError after 10 s or its end."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and broker.process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((broker.host, broker.port), 1):
            return
        time.sleep(POLL_S)
    ended = broker.process.poll()
    state = "did not listen in time" if ended is None else f"ended with status {ended}"
    said = broker.log_file.read_text("utf-8", "replace")[-500:].strip()
    raise BrokerError(f"{broker.name} on port {broker.port} {state}; its log ends with: {said}")
