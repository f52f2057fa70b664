"""A blocking MQTT 5 connection with as little of its own as possible: load, probes, status."""

from __future__ import annotations

import select
import socket
from types import TracebackType
from typing import Self

import mqtt5

__all__ = ["Client"]

LOOPBACK = "127.0.0.1"
READ_BYTES = 262_144
LONG_S = 30.0


class Client:
    """Connects at once; acknowledges each QoS 1 message as soon as it is read."""

    def __init__(self, port: int, *, name: str) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), LONG_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""
        self._early: list[mqtt5.Packet] = []
        self._packet_id = 0
        self.send(mqtt5.ConnectPacket(name, clean_start=True, receive_max=65_534).write())
        self.await_packet(mqtt5.ConnAckPacket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def subscribe(self, pattern: str) -> None:
        """Subscribe at QoS 1 and wait until the broker has agreed."""
        wanted = mqtt5.TopicFilter(pattern, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
        self.send(mqtt5.SubscribePacket(1, [wanted]).write())
        self.await_packet(mqtt5.SubAckPacket)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1; the PUBACK comes among the packets."""
        self._packet_id = self._packet_id % 65_535 + 1
        qos = mqtt5.QoS.AT_LEAST_ONCE
        packet = mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=self._packet_id)
        self.send(packet.write())

    def send(self, data: bytes) -> None:
        """Send encoded packets."""
        self._socket.sendall(data)

    def await_packet(self, kind: type[mqtt5.Packet]) -> None:
        """Read until a packet of this kind came; raise TimeoutError after 30 s of silence.

        The others that came with it are the next that `packets` returns.
        """
        early: list[mqtt5.Packet] = []
        while True:
            packets = self.packets(LONG_S)
            early += [packet for packet in packets if not isinstance(packet, kind)]
            if any(isinstance(packet, kind) for packet in packets):
                self._early = early
                return
            if not packets:
                raise TimeoutError(f"expected {kind.__name__} within {LONG_S} s, got nothing")

    def packets(self, timeout_s: float) -> list[mqtt5.Packet]:
        """Return what one read gives, waiting for it at most this long; empty when nothing came."""
        if self._early:
            early, self._early = self._early, []
            return early
        if not select.select([self._socket], [], [], max(timeout_s, 0.0))[0]:
            return []
        received = self._socket.recv(READ_BYTES)
        if not received:
            raise ConnectionError("the broker closed the connection")
        packets = self._split(self._rest + received)
        acknowledgements = [
            mqtt5.PubAckPacket(packet.packet_id).write()
            for packet in packets
            if isinstance(packet, mqtt5.PublishPacket) and packet.packet_id
        ]
        if acknowledgements:
            self.send(b"".join(acknowledgements))
        return packets

    def _split(self, data: bytes) -> list[mqtt5.Packet]:
        packets, view, position = [], memoryview(data), 0
        while position < len(data):
            try:
                packet, size = mqtt5.read(view[position:])
            except IndexError:
                break
            packets.append(packet)
            position += size
        self._rest = data[position:]
        return packets
