"""A broker that holds to a small window of unacknowledged messages, whatever it was asked for.

mosquitto 2.0 is documented to, but does not where an MQTT 5 client asks for more; so a proxy
between it and the gateway holds messages back.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator

__all__ = ["narrowed"]

LOOPBACK = "127.0.0.1"
CHUNK_BYTES = 65_536
PUBLISH, PUBACK = 3, 4
QOS_BITS = 0b0110
LENGTH_BITS = 7


class Window:
    """Messages that may still be given out."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._changed = threading.Condition()

    def take(self, *, wait: bool) -> bool:
        """Take a place; without `wait` return False where none is free."""
        with self._changed:
            if not self._free and not wait:
                return False
            self._changed.wait_for(lambda: self._free)
            self._free -= 1
            return True

    def give(self, count: int) -> None:
        """Give places back."""
        with self._changed:
            self._free += count
            self._changed.notify()


class Narrow(socketserver.ThreadingTCPServer):
    """Passes connections on to a broker."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, size: int) -> None:
        super().__init__((LOOPBACK, 0), Passage)
        self.target = (LOOPBACK, port)
        self.size = size


class Passage(socketserver.BaseRequestHandler):
    """One connection."""

    server: Narrow

    def handle(self) -> None:
        """Pass on until one side ends."""
        gateway, window = self.request, Window(self.server.size)
        with socket.create_connection(self.server.target) as broker:
            for side in (gateway, broker):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            down = threading.Thread(target=hold, args=(broker, gateway, window), daemon=True)
            down.start()
            count(gateway, broker, window)
            window.give(1 << 62)
            down.join()


def hold(broker: socket.socket, gateway: socket.socket, window: Window) -> None:
    """Pass packets on to the gateway, a QoS 1 message only when the window has a place."""
    for data, frames in chunks(broker):
        sent = 0
        for header, begin, _ in frames:
            if header >> 4 != PUBLISH or not header & QOS_BITS or window.take(wait=False):
                continue
            gateway.sendall(data[sent:begin])
            sent = begin
            window.take(wait=True)
        gateway.sendall(data[sent:])
    with contextlib.suppress(OSError):
        gateway.shutdown(socket.SHUT_WR)


def count(gateway: socket.socket, broker: socket.socket, window: Window) -> None:
    """Pass packets on to the broker; each PUBACK frees a place."""
    for data, frames in chunks(gateway):
        broker.sendall(data)
        window.give(sum(header >> 4 == PUBACK for header, _, _ in frames))
    with contextlib.suppress(OSError):
        broker.shutdown(socket.SHUT_WR)


def chunks(source: socket.socket) -> Iterator[tuple[bytes, list[tuple[int, int, int]]]]:
    """Yield whole packets, many at once, and (header, begin, end) of each, until the end."""
    rest = b""
    with contextlib.suppress(OSError):
        while received := source.recv(CHUNK_BYTES):
            data = rest + received
            frames = list(frames_of(data))
            end = frames[-1][2] if frames else 0
            rest = data[end:]
            if frames:
                yield data[:end], frames


def frames_of(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (header, begin, end) of each whole packet (MQTT 5, section 2.1.4)."""
    begin = 0
    while begin + 1 < len(data):
        length = shift = 0
        place = begin + 1
        while place < len(data):
            digit = data[place]
            length |= (digit & 0x7F) << shift
            shift += LENGTH_BITS
            place += 1
            if digit < 0x80:
                break
        else:
            return
        if place + length > len(data):
            return
        yield data[begin], begin, place + length
        begin = place + length


@contextlib.contextmanager
def narrowed(port: int, size: int) -> Iterator[str]:
    """Serve the broker of a port with a window of so many messages; yield the address."""
    with Narrow(port, size) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"mqtt://{LOOPBACK}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
