"""A broker that grants few unacknowledged messages, against a gateway that commits in groups."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.asking import Asker
from benchmarks.client import Client
from benchmarks.load import Load
from benchmarks.narrow import narrowed
from benchmarks.report import Report, median
from benchmarks.stand import (
    Setting,
    Stand,
    blast_timed,
    open_broker,
    open_gateway,
    paced_blast,
    read_status,
)
from benchmarks.stored import read_head

__all__ = ["measure_window"]

WINDOW = 20
"""mosquitto's default of max_inflight_messages."""
SLOW_RATE = 100.0


def measure_window(report: Report, folder: Path, load: Load) -> None:
    """Report how many messages a second the gateway takes, and how often it commits few."""
    messages = report.size(quick=40_000, full=200_000)
    slow = min(messages, 500 if report.quick else 2000)
    with narrow_stand(folder, load) as stand:
        stand.run(min(messages, 10 * load.assets))
        rates = [taken_per_s(stand, messages) for _ in range(report.runs)]
        commits = commits_per_s(stand, slow)
        stand.check()
    report.result["runs"]["window_20_messages_per_s"] = [round(rate) for rate in rates]
    report.add(
        window_20_messages_per_s=round(median(rates)),
        slow_messages_per_s=SLOW_RATE,
        slow_commits_per_s=round(commits, 1),
    )


@contextlib.contextmanager
def narrow_stand(folder: Path, load: Load) -> Iterator[Stand]:
    """Run a gateway that gets WINDOW messages at a time."""
    with open_broker(folder / "broker") as broker, narrowed(broker.port, WINDOW) as url:
        Setting().write(folder, url)
        with open_gateway(folder) as gateway:
            read_status(broker, presence="online")
            yield Stand(broker, gateway, load, folder, folder / "data")


def taken_per_s(stand: Stand, messages: int) -> float:
    """Publish as fast as the broker takes it; return the messages a second that were committed."""
    first, stand.published = stand.published, stand.published + messages
    began_s, _ = blast_timed(stand.broker, stand.load, first=first, count=messages)
    with Client(stand.broker.port, name="asker") as client:
        return messages / (Asker(client).ask() - began_s)


def commits_per_s(stand: Stand, messages: int) -> float:
    """Publish few messages a second; return the commits a second meanwhile."""
    before, began_s = read_head(stand.storage).row, time.monotonic()
    with paced_blast(stand, messages=messages, rate=SLOW_RATE):
        pass
    commits, took_s = read_head(stand.storage).row - before, time.monotonic() - began_s
    stand.settle()
    return commits / took_s
