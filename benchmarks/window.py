"""A broker that lets 20 messages be unacknowledged, against a gateway that commits in groups."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.asking import Asker
from benchmarks.client import Client
from benchmarks.disk import sync_ms
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
    """Report how many messages a second the gateway takes, and how often it commits few.

    Behind mosquitto with its default setting, and behind one that holds to it: mosquitto 2.0 gives
    an MQTT 5 client what it asks for.
    """
    messages = report.size(quick=40_000, full=200_000)
    slow = 100 if report.readings else 500 if report.quick else 2000
    with window_stand(folder / "default", load, strict=False) as stand:
        measure_rates(report, stand, "window_20_messages_per_s", messages)
        commits = commits_per_s(stand, slow)
        stand.check()
    with window_stand(folder / "strict", load, strict=True) as stand:
        measure_rates(report, stand, "strict_window_20_messages_per_s", messages // 5)
        stand.check()
    report.add(
        slow_messages_per_s=SLOW_RATE,
        slow_commits_per_s=round(commits, 1),
        disk_sync_ms=round(sync_ms(folder), 2),
    )


@contextlib.contextmanager
def window_stand(folder: Path, load: Load, *, strict: bool) -> Iterator[Stand]:
    """Run a gateway whose broker has a small window."""
    options = {"max_inflight_messages": str(WINDOW)}
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(open_broker(folder / "broker", options=options))
        url = stack.enter_context(narrowed(broker.port, WINDOW)) if strict else broker.url
        Setting().write(folder, url)
        gateway = stack.enter_context(open_gateway(folder))
        read_status(broker, presence="online")
        yield Stand(broker, gateway, load, folder, folder / "data")


def measure_rates(report: Report, stand: Stand, key: str, messages: int) -> None:
    """Report the median of the messages a second that were committed."""
    stand.run(min(messages, 10 * stand.load.assets))
    rates = [taken_per_s(stand, messages) for _ in range(report.runs)]
    report.result["runs"][key] = [round(rate) for rate in rates]
    report.add(**{key: round(median(rates))})


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
