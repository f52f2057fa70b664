"""A gateway in a process of its own, and a site that talks to it over a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import msgspec

from vedette.client import open_client
from wire.codec import encode_json
from wire.messages import CHUNK_BYTES, GatewayStatus, ModelManifest, ModelTarget
from wire.mqtt import Endpoint, Session
from wire.topics import Topics

TOPICS = Topics()
PATIENCE_S = 20.0


@dataclass
class Gateway:
    """`python -m gateway` with its files in `folder`."""

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> str:
        return (self.folder / "gateway.log").read_text("utf-8")

    def stop(self, name: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(name)
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def gateway(folder: Path, url: str, *, more: str = ""):  # type: ignore[no-untyped-def] # noqa: ANN201
    """Run a gateway for as long as the context lasts."""
    folder.mkdir(exist_ok=True)
    config = folder / "gateway.toml"
    config.write_text(f'[site]\nurl = "{url}"\n{more}', "utf-8")
    with (folder / "gateway.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "--config", str(config)],
            stdout=log,
            stderr=log,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONWARNINGS": "default"},
        )
    running = Gateway(folder, process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "Warning" not in running.log, running.log
    assert "Traceback" not in running.log, running.log


@dataclass
class Heard:
    """What came on the gateway's topics, newest status apart."""

    status: GatewayStatus | None = None
    retained: GatewayStatus | None = None
    messages: list[tuple[str, bytes]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, holds: Callable[[GatewayStatus], object]) -> GatewayStatus:
        """Wait for a status of which the condition holds."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self.status is None or not holds(self.status):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"the condition never held; newest: {self.status}") from None
        return self.status

    def on(self, kind: str) -> list[bytes]:
        return [payload for topic, payload in self.messages if f"/{kind}" in topic]


@contextlib.asynccontextmanager
async def listening(url: str) -> AsyncIterator[Heard]:
    """Hear everything that gateways publish, from now on and what is retained."""
    heard = Heard()

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = bytes(message.payload)
            if str(message.topic).endswith("/status") and payload:
                heard.status = msgspec.json.decode(payload, type=GatewayStatus)
                if message.retain:
                    heard.retained = heard.status
            heard.messages.append((str(message.topic), payload))
            heard.changed.set()

    async with open_client(url) as client:
        await client.subscribe(f"{TOPICS.root}/gw/#", qos=1)
        task = asyncio.create_task(listen(client))
        try:
            yield heard
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await task


@contextlib.asynccontextmanager
async def site(port: int, *, name: str = "site") -> AsyncIterator[Session]:
    """A publisher that sends again what a broker has not acknowledged."""
    endpoint = Endpoint(host="127.0.0.1", port=port, client_id=name)
    async with Session(endpoint).background() as session:
        yield session


def reading(seq: int, values: dict[str, float | None], *, epoch: str = "e1") -> bytes:
    return json.dumps({"id": [epoch, seq], "t": 1.7e12 + 1000 * seq, "values": values}).encode()


async def publish_readings(
    session: Session, source: str, rows: Iterable[dict[str, float | None]], *, first: int = 1
) -> int:
    """Publish one message a row; return how many readings they hold."""
    sent, held = [], 0
    for seq, values in enumerate(rows, first):
        held += len(values)
        sent.append(session.publish(TOPICS.readings(source), reading(seq, values)))
    await asyncio.gather(*sent)
    return held


async def publish_model(
    session: Session,
    data: bytes,
    *,
    name: str,
    version: int,
    manifest: int = 1,
    sha256: str = "",
) -> str:
    """Put a model where gateways look, as the cloud does; return its digest."""
    digest = sha256 or hashlib.sha256(data).hexdigest()
    parts = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
    for index, part in enumerate(parts):
        await session.publish(TOPICS.blob(digest, index), part, retain=True)
    target = ModelTarget(
        id=name, version=version, sha256=digest, size_bytes=len(data), chunks=len(parts)
    )
    message = ModelManifest(version=manifest, targets=(target,))
    await session.publish(TOPICS.meta("targets"), encode_json(message), retain=True)
    return digest
