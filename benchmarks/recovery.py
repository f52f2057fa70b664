"""How long a gateway that was killed needs until it works again, its disk full of what waits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.asking import Asker
from benchmarks.client import Client
from benchmarks.load import Load
from benchmarks.report import Report, median
from benchmarks.stand import Setting, Stand, blast, open_broker, open_gateway, read_status
from benchmarks.stored import Stored, read_stored
from vedette.broker import free_port

__all__ = ["measure_recovery"]

AGAIN_S = 0.1
SHARE = 0.07
"""Share of the first load that comes between two kills: they find journals of other lengths."""


def measure_recovery(report: Report, folder: Path, load: Load, readings: int) -> None:
    """Kill it with that many readings waiting for the cloud; report seconds to the first answer."""
    seconds: list[float] = []
    found: list[Stored] = []
    with cut_off_stand(folder, load) as stand:
        load_and_kill(stand, readings)
        for _ in range(report.runs):
            found.append(read_stored(stand.storage))
            seconds.append(start(stand))
            load_and_kill(stand, round(SHARE * readings))
    tell(report, seconds, found)


def tell(report: Report, seconds: list[float], found: list[Stored]) -> None:
    """Report the median, and what the starts had to do."""
    report.result["runs"]["recovery_s"] = [round(one, 3) for one in seconds]
    report.result["runs"]["replayed_readings"] = [one.replayed_readings for one in found]
    report.add(
        recovery_s=median(seconds),
        recovery_pending_readings=found[0].pending_readings,
        recovery_replayed_readings=[
            min(one.replayed_readings for one in found),
            max(one.replayed_readings for one in found),
        ],
        recovery_database_mb=round(found[-1].file_bytes / 1e6, 1),
    )


@contextlib.contextmanager
def cut_off_stand(folder: Path, load: Load) -> Iterator[Stand]:
    """Run a gateway whose uplink nobody serves; who uses it ends and starts it."""
    with open_broker(folder / "broker") as broker, contextlib.ExitStack() as running:
        Setting(uplink=f"mqtt://127.0.0.1:{free_port()}").write(folder, broker.url)
        gateway = running.enter_context(open_gateway(folder))
        read_status(broker, presence="online")
        yield Stand(broker, gateway, load, folder, folder / "data")


def load_and_kill(stand: Stand, messages: int) -> None:
    """Publish the next messages, wait until they are stored, and kill the gateway."""
    blast(stand.broker, stand.load, first=stand.published, count=messages)
    stand.published += messages
    with Client(stand.broker.port, name="asker") as client:
        Asker(client).ask()
    stand.gateway.kill()


def start(stand: Stand) -> float:
    """Start the gateway again; return the seconds until it answers what was asked after that."""
    with Client(stand.broker.port, name="asker") as client:
        asker = Asker(client)
        began_s = time.monotonic()
        stand.gateway.start()
        return asker.ask(again_s=AGAIN_S) - began_s
