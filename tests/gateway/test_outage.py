"""A gateway whose cloud is away: everything goes up later, once, alerts first."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest

from tests.gateway.cloudlike import CloudLike, cloud_like
from tests.gateway.graphs import magnitude
from tests.gateway.running import Gateway, Heard, gateway, listening, publish_readings, site
from vedette.broker import Broker, free_port, start_mosquitto
from wire.messages import GatewayStatus

pytestmark = pytest.mark.usefixtures("needs_mosquitto")

MORE = """
[summaries]
idle_s = 1.0
period_s = 4.0
least_rows = 4
most_rows = 16
[excerpts]
history_rows = 64
sample_rows = 8
"""


def ups(count: int) -> list[dict[str, float | None]]:
    return [{"a": 0.1 * (at % 7), "b": 1.0 * at} for at in range(count)]


def add_up(status: GatewayStatus) -> bool:
    ledger = status.ledger
    return (
        ledger["scored"] == ledger["open"] + ledger["summarised"]
        and ledger["summarised"] == ledger["stored"] + ledger["pending"] + ledger["dropped"]
        and ledger["pending"] == status.outbox["readings"]
    )


def kept_by(running: Gateway) -> list[tuple[str, int]]:
    """What waits in the outbox of a gateway that does not run."""
    with sqlite3.connect(running.folder / "data" / "gateway.sqlite") as connection:
        found = connection.execute("SELECT epoch, seq FROM outbox ORDER BY id").fetchall()
    connection.close()
    return found


async def all_stored(heard: Heard, cloud: CloudLike, readings: int) -> None:
    await heard.until(
        lambda s: (
            0 < s.ledger.get("scored", 0) == s.ledger.get("stored") and cloud.readings == readings
        )
    )


async def test_what_was_made_while_the_cloud_was_away_goes_up_once_in_order(
    mosquitto: Broker, tmp_path: Path
) -> None:
    (tmp_path / "up").mkdir()
    port = free_port()
    more = f'{MORE}[uplink]\nurl = "mqtt://127.0.0.1:{port}"\n'
    with gateway(tmp_path / "gw", mosquitto.url, more=more) as running:
        async with listening(mosquitto.url) as near, site(mosquitto.port) as session:
            await near.until(lambda status: status.presence == "online")
            held = await publish_readings(session, "pump-1", ups(200))
            status = await near.until(lambda s: s.ledger.get("pending", 0) >= held)
            assert add_up(status)
            assert status.ledger["stored"] == 0
            running.stop(signal.SIGKILL)
    waiting = kept_by(running)
    assert len(waiting) == len(set(waiting)) == status.outbox["count"]
    with (
        start_mosquitto(port=port, directory=tmp_path / "up") as uplink,
        gateway(tmp_path / "gw", mosquitto.url, more=more),
    ):
        async with listening(mosquitto.url) as near, cloud_like(uplink.port) as cloud:
            done = await near.until(lambda s: s.ledger.get("stored") == held)
            assert cloud.readings == held
            for numbers in cloud.stored.values():
                assert numbers == list(range(1, len(numbers) + 1))
            assert done.outbox["count"] == 0
            assert add_up(done)


async def test_a_live_alert_overtakes_the_backlog(mosquitto: Broker, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "gw" / "models").mkdir(parents=True)
    (tmp_path / "gw" / "models" / "plain.onnx").write_bytes(magnitude().data)
    port = free_port()
    more = f'{MORE}[uplink]\nurl = "mqtt://127.0.0.1:{port}"\n'
    with gateway(tmp_path / "gw", mosquitto.url, more=more):
        async with listening(mosquitto.url) as near, site(mosquitto.port) as session:
            await near.until(lambda status: status.presence == "online")
            held = await publish_readings(session, "pump-1", [{"a": 0.0}] * 2000)
            await near.until(lambda s: s.ledger.get("pending", 0) >= held)
            levels = [0.0] * 6 + [5.0] * 3
            await publish_readings(session, "pump-2", [{"a": level} for level in levels])
            await near.until(lambda s: s.outbox.get("count", 0) > 0 and near.on("alerts"))
            with start_mosquitto(port=port, directory=tmp_path / "up") as uplink:
                async with cloud_like(uplink.port) as cloud:
                    await near.until(lambda s: s.ledger.get("stored", 0) >= held)
    kinds = [kind for kind, *_ in cloud.arrived]
    assert "alerts" in kinds
    assert kinds.index("alerts") <= 8  # what may be under way before it
    assert kinds.count("alerts") == 1


async def test_a_storage_that_was_set_back_gives_no_number_twice(
    mosquitto: Broker, tmp_path: Path
) -> None:
    data, backup = tmp_path / "gw" / "data", tmp_path / "backup"
    held, epochs, faults = 0, set(), ()
    async with (
        listening(mosquitto.url) as heard,
        site(mosquitto.port) as session,
        cloud_like(mosquitto.port) as cloud,
    ):
        for part in range(3):
            with gateway(tmp_path / "gw", mosquitto.url, more=MORE) as running:
                heard.status = None
                await heard.until(lambda status: status.presence == "online" and status.version)
                held += await publish_readings(session, "pump-1", ups(60), first=1 + 60 * part)
                await all_stored(heard, cloud, held)
                status = heard.status
                epochs.add(status.epoch)
                faults = status.faults
                assert await asyncio.to_thread(running.stop) == 0
            if part == 0:
                shutil.copytree(data, backup)
            elif part == 1:
                shutil.rmtree(data)
                shutil.copytree(backup, data)
    assert any("set back" in fault for fault in faults)
    assert len(epochs) == 2
    assert {epoch.rsplit("-")[0] for epoch in cloud.stored} == epochs
    assert kept_by(running) == []
    assert cloud.readings == held
