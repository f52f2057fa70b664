"""What the tests of MQTT need beside a real broker: a scripted one, a bad network, patience."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

import mqtt5

P = TypeVar("P")

PATIENCE_S = 15.0


async def eventually(condition: Callable[[], object], *, timeout_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds; raise TimeoutError after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - conditions of sockets and processes, no events
            await asyncio.sleep(0.005)


class Visit:
    """One client's connection to a scripted broker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def expect(self, kind: type[P]) -> P:
        """Return the next packet, which must be of `kind`."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readexactly(2)
            while head[-1] >= 128:
                head += await self._reader.readexactly(1)
            length = sum((byte & 127) << 7 * index for index, byte in enumerate(head[1:]))
            packet, _ = mqtt5.read(memoryview(head + await self._reader.readexactly(length)))
        assert isinstance(packet, kind), packet
        return packet

    async def greet(self, **connack: object) -> mqtt5.ConnectPacket:
        """Accept the client."""
        connect = await self.expect(mqtt5.ConnectPacket)
        self.send(mqtt5.ConnAckPacket(**connack))  # type: ignore[arg-type]
        return connect

    def send(self, *packets: mqtt5.Packet) -> None:
        """Send packets in one write."""
        self._writer.write(b"".join(packet.write() for packet in packets))

    def send_bytes(self, data: bytes) -> None:
        """Send what no packet says."""
        self._writer.write(data)

    async def is_silent(self) -> bool:
        """Send PINGRESP to nobody's ping and tell whether the client sends nothing for 50 ms."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                return await self._reader.read(1) == b""
        return True

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class ScriptedBroker:
    """A broker whose every word the test says."""

    def __init__(self) -> None:
        self.port = 0
        self._visits: asyncio.Queue[Visit] = asyncio.Queue()

    async def visit(self) -> Visit:
        """Return the next connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._visits.get()

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls) -> AsyncIterator[ScriptedBroker]:
        """Listen on a free port of loopback."""
        broker = cls()
        writers: list[asyncio.StreamWriter] = []

        def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            broker._visits.put_nowait(Visit(reader, writer))

        server = await asyncio.start_server(welcome, "127.0.0.1", 0)
        broker.port = server.sockets[0].getsockname()[1]
        try:
            yield broker
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()


class Network:
    """A TCP proxy in front of a broker that can swallow everything without closing anything."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.black_hole = False
        self.connections = 0
        self._target_port = target_port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Break every connection off, as a router's restart does."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers += [writer, up_writer]
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if not self.black_hole:
                    sink.write(data)
        if not self.black_hole:
            sink.close()

    @classmethod
    @contextlib.asynccontextmanager
    async def before(cls, target_port: int) -> AsyncIterator[Network]:
        """Listen on a free port of loopback and forward to the target."""
        network = cls(target_port)
        server = await asyncio.start_server(network._connect, "127.0.0.1", 0)
        network.port = server.sockets[0].getsockname()[1]
        try:
            yield network
        finally:
            server.close()
            network.cut()
            for task in network._tasks:
                task.cancel()
            await asyncio.gather(*network._tasks, return_exceptions=True)
