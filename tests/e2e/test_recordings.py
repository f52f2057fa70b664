"""All recordings at hand, through a real broker, scored to the last reading."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from sensors.catalogue import open_recordings
from vedette.backtest import backtest, open_pipeline
from vedette.broker import Broker
from vedette.client import open_client
from wire.codec import decode_json, encode_json
from wire.messages import AlertEvent, GatewayStatus

DATA = Path(__file__).parents[3] / "shared" / "data"


@contextmanager
def gateway(broker: Broker, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / "gateway.toml"
    config.write_text(f'[gateway]\nid = "backtest"\n[site]\nurl = "{broker.url}"\n')
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--config", str(config)], stderr=log
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Listener:
    """Collects alerts and statuses until the gateway has said goodbye."""

    def __init__(self, broker: Broker) -> None:
        self.url = broker.url
        self.alerts: list[AlertEvent] = []
        self.status: GatewayStatus | None = None
        self.changed = asyncio.Condition()

    async def run(self) -> None:
        async with open_client(self.url) as client:
            await client.subscribe("vedette/v1/gw/backtest/#", qos=1)
            async for message in client.messages:
                await self.take(str(message.topic).split("/")[4], bytes(message.payload))

    async def take(self, kind: str, payload: bytes) -> None:
        if kind == "alerts":
            self.alerts.append(decode_json(payload, AlertEvent))
        elif kind == "status":
            self.status = decode_json(payload, GatewayStatus)
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[GatewayStatus], bool]) -> GatewayStatus:
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(lambda: self.status is not None and condition(self.status))
        assert self.status is not None
        return self.status


@pytest.mark.parametrize("preset", ["skab", "nab"])
async def test_every_reading_is_scored_and_live_equals_backtest(
    preset: str, broker: Broker, tmp_path: Path
) -> None:
    if not (DATA / preset).is_dir():
        pytest.skip(f"the recordings of {preset} are not at hand")
    listener = Listener(broker)
    with gateway(broker, tmp_path) as process:
        listening = asyncio.create_task(listener.run())
        await listener.until(lambda status: status.presence == "online")
        published = await replay(broker, preset)
        await listener.until(lambda s: s.readings["received"] >= published["readings"])
        process.send_signal(signal.SIGTERM)
        status = await listener.until(lambda status: status.presence == "offline")
        assert await asyncio.to_thread(process.wait, 30) == 0
    listening.cancel()

    assert status.readings["scored"] == published["readings"] > 0
    assert status.readings["duplicate"] == status.readings["skipped"] == 0
    assert status.messages == {"decoded": published["messages"], "quarantined": 0}
    assert by_asset(listener.alerts) == by_asset(offline(preset))


async def replay(broker: Broker, preset: str) -> dict[str, int]:
    command = ["-m", "vedette", "sensors", "replay", str(DATA / preset), "--preset", preset]
    given = ["--broker", broker.url, "--speed", "max", "--json"]
    done = await asyncio.create_subprocess_exec(
        sys.executable, *command, *given, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await done.communicate()
    assert done.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def offline(preset: str) -> list[AlertEvent]:
    recordings = open_recordings(DATA / preset, preset=preset)
    return backtest(recordings, open_pipeline("backtest", None)).alerts


def by_asset(alerts: list[AlertEvent]) -> dict[str, list[bytes]]:
    """Alert messages as bytes but for their numbers, each asset's in order."""
    found: dict[str, list[bytes]] = defaultdict(list)
    for alert in alerts:
        unnumbered = msgspec.structs.replace(alert, epoch="", seq=0)
        found[alert.subject].append(encode_json(unnumbered))
    return dict(found)
