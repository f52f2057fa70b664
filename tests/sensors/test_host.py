from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from sensors.host import Host, publish_host
from sensors.publisher import Publisher
from vedette.broker import Broker
from wire.codec import decode_readings


def test_a_row_has_a_value_in_range_for_every_channel() -> None:
    host = Host()
    row = host.row()
    values = dict(zip((c.name for c in host.channels), row.values, strict=True))
    assert all(channel.unit for channel in host.channels)
    assert len(values) == len(host.channels)
    assert abs(row.t_us / 1e6 - time.time()) < 60
    assert 0 <= values["cpu"] <= 100
    assert 0 < values["memory"] <= 100
    assert all(values[n] >= 0 or math.isnan(values[n]) for n in ("disk_read", "net_sent"))


def test_channels_stay_the_same() -> None:
    host = Host()
    before = host.channels
    assert [len(host.row().values) for _ in range(3)] == [len(before)] * 3
    assert host.channels == before


def test_rows_are_published_each_period(broker: Broker, collect: Callable[[int, str], Any]) -> None:
    collector = collect(broker.port, "r/readings/me")
    with Publisher(broker.url) as publisher:
        publish_host(
            Host(),
            publisher=publisher,
            topic="r/readings/me",
            epoch="e",
            period_s=0.05,
            rows=4,
        )
    collector.wait_for(lambda: len(collector.messages) == 4)
    rows = [decode_readings(payload)[0] for _, payload in collector.messages]
    assert [row.id for row in rows] == [("e", n) for n in (1, 2, 3, 4)]
    assert rows[3].t - rows[0].t >= 140
