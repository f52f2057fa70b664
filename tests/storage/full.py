"""A gateway on a disk that fills up: it waits, loses nothing, and goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.brokers import eventually
from tests.gateway.running import TOPICS, Gateway, Heard, gateway, listening, reading, site
from tests.storage.outcome import Outcome
from vedette.broker import free_port, start_mosquitto
from wire.codec import decode_json, encode_json
from wire.messages import ConfirmedMessage, ConfirmRequest
from wire.mqtt import Session

__all__ = ["MountError", "run_full_disks", "small_disk"]

DISK_MB = 8
BALLAST_BYTES = 500_000
KEPT_FREE = 4096
MORE = f"""
[summaries]
least_rows = 16
most_rows = 32
[excerpts]
sample_rows = 8
[storage]
directory = "disk"
ballast_mb = {BALLAST_BYTES / 1e6}
limit_mb = 64
"""
ROWS = 300
MOST_ROUNDS = 60


class MountError(Exception):
    """No small disk can be had here."""


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a few megabytes; raise MountError."""
    folder.mkdir(parents=True)
    if os.getuid():
        raise MountError("only root can mount a small disk")
    size = f"size={DISK_MB}m"
    command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MountError(f"no small disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@dataclass
class Sender:
    """A sensor of our own: it asks what is stored, for the broker acknowledges everything."""

    session: Session
    heard: Heard
    sent: int = 0
    tasks: list[asyncio.Task[int]] = field(default_factory=list)

    def send(self, rows: int) -> None:
        """Send new rows without waiting."""
        for _ in range(rows):
            self.sent += 1
            payload = reading(self.sent, {"a": float(self.sent % 7), "b": self.sent * 0.37})
            self._publish(TOPICS.readings("pump"), payload)
        self.ask()

    def ask(self) -> None:
        """Ask up to where everything is stored."""
        first = self.confirmed + 1
        request = ConfirmRequest(sender="pump", epoch="e1", first=first, last=self.sent)
        self._publish(TOPICS.confirm("pump"), encode_json(request))

    @property
    def confirmed(self) -> int:
        """Number up to which everything is said to be stored."""
        answers = self.heard.on("confirmed/pump")
        return decode_json(answers[-1], ConfirmedMessage).seq if answers else 0

    def _publish(self, topic: str, payload: bytes) -> None:
        self.tasks.append(asyncio.create_task(self.session.publish(topic, payload)))


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(os.urandom(KEPT_FREE)):
            pass
    return path


@dataclass
class Cycle:
    """One disk that fills up and is emptied again."""

    disk: Path
    sender: Sender
    heard: Heard
    outcome: Outcome

    async def run(self) -> None:
        """Fill, send, see that it waits; empty, see that all is taken in."""
        before = self.sender.sent
        filler = fill(self.disk)
        try:
            await self._send_until_full(filler)
            held = self.sender.sent - self.sender.confirmed
            self.outcome.expect(held, "everything was confirmed on a full disk")
            self.outcome.figures["messages held back"] += held
        finally:
            filler.unlink()
        await self.heard.until(self._is_back)
        await asyncio.gather(*self.sender.tasks)
        self.sender.tasks.clear()
        self.outcome.expect(
            self._taken_in() == 2 * self.sender.sent,
            f"{self._taken_in()} readings taken in of {2 * self.sender.sent}",
        )
        self.sender.ask()
        await eventually(lambda: self.sender.confirmed == self.sender.sent)
        await eventually(self._has_ballast)
        self.outcome.figures["messages"] += self.sender.sent - before
        self.outcome.count += 1

    async def _send_until_full(self, filler: Path) -> None:
        """What the gateway frees to go on is taken away too: a disk that others fill."""
        for _ in range(MOST_ROUNDS):
            self.sender.send(ROWS)
            fill_more(filler)
            was_full = self._is_full()
            self.heard.changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.heard.changed.wait()
            if was_full and self._is_full():
                return
        raise AssertionError("the disk never was full")

    def _is_full(self) -> bool:
        return bool(self.heard.status and self.heard.status.storage["full"])

    def _taken_in(self) -> int:
        assert self.heard.status is not None
        return self.heard.status.readings["received"]

    def _is_back(self, status: object) -> bool:
        full = status.storage["full"]  # type: ignore[attr-defined]
        return not full and self._taken_in() >= 2 * self.sender.sent

    def _has_ballast(self) -> bool:
        path = self.disk / "ballast"
        return path.exists() and path.stat().st_size == BALLAST_BYTES


def fill_more(filler: Path) -> None:
    """Take the room that has come free since."""
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(os.urandom(KEPT_FREE)):
            pass


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[tuple[Gateway, Sender, Heard]]:
    """A broker, a gateway with its storage on the small disk, a sender and a listener."""
    (folder / "broker").mkdir()
    with (
        start_mosquitto(port=free_port(), directory=folder / "broker") as broker,
        gateway(folder / "gw", broker.url, more=MORE) as running,
    ):
        async with listening(broker.url) as heard, site(broker.port) as session:
            await heard.until(lambda status: status.presence == "online")
            yield running, Sender(session, heard), heard


async def run_cycles(folder: Path, outcome: Outcome, count: int) -> None:
    """Fill the disk of one gateway that often."""
    with small_disk(folder / "gw" / "disk") as disk:
        async with stage(folder) as (running, sender, heard):
            for number in range(count):
                try:
                    await Cycle(disk, sender, heard, outcome).run()
                except (AssertionError, TimeoutError) as error:
                    outcome.expect(holds=False, text=f"cycle {number}: {error!r}")
                    break
            outcome.expect(running.process.poll() is None, "the gateway has left")
            outcome.expect("Traceback" not in running.log, "a traceback in the log")


def run_full_disks(folder: Path, count: int, seed: int) -> Outcome:
    """Fill the disk that often; nothing here is left to chance, but for the machine's."""
    del seed
    outcome = Outcome("full")
    asyncio.run(run_cycles(folder, outcome, count))
    return outcome
