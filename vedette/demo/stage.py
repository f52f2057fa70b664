"""Starts the demo's processes in a folder of their own and ends them again."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vedette.broker import Broker, BrokerLauncher, find_broker, free_port
from vedette.demo.script import Script

__all__ = ["GATEWAY", "Stage", "open_stage"]

GATEWAY = "demo"
STOP_TIMEOUT_S = 20.0
CONFIG = """\
[gateway]
id = "{gateway}"

[site]
url = "{url}"

[excerpts]
history_rows = {history_rows}
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """What runs: a broker, a gateway and a cloud."""

    broker: Broker
    gateway: subprocess.Popen[bytes]
    cloud: subprocess.Popen[bytes]
    folder: Path

    def last_words(self) -> str:
        """The end of the gateway's log."""
        return (self.folder / "gateway.log").read_text("utf-8", "replace")[-600:].strip()

    def stop_gateway(self) -> None:
        """Ask the gateway to send what it holds and leave; wait until it has."""
        _stop(self.gateway)


@contextlib.contextmanager
def open_stage(
    folder: Path, script: Script, *, launcher: BrokerLauncher | None = None
) -> Iterator[Stage]:
    """Start everything below `folder`; logs are there too.

    The broker is what `launcher` starts, by default the best there is. Raises BrokerError.
    """
    launch = launcher or find_broker()
    with contextlib.ExitStack() as stack:
        directory = folder / "broker"
        directory.mkdir(parents=True, exist_ok=True)
        broker = stack.enter_context(launch(port=free_port(), directory=directory))
        config = folder / "gateway.toml"
        config.write_text(
            CONFIG.format(gateway=GATEWAY, url=broker.url, history_rows=script.min_rows),
            encoding="utf-8",
        )
        gateway = stack.enter_context(
            _process(folder, "gateway", "-m", "gateway", "--config", str(config))
        )
        database = folder / "cloud.sqlite"
        given = [
            "--broker",
            broker.url,
            "--database",
            str(database),
            "--min-rows",
            str(script.min_rows),
        ]
        given += ["--ready-share", str(script.ready_share)]
        cloud = stack.enter_context(
            _process(folder, "cloud", "-m", "vedette", "cloud", "run", "--json", *given)
        )
        yield Stage(broker, gateway, cloud, folder)


@contextlib.contextmanager
def _process(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # Ctrl-C is for the demo, which ends the others in order
        )
        try:
            yield process
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
