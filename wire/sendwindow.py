"""Messages on their way to the broker, within the window that it grants."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import mqtt5

__all__ = ["Oversized", "PacketIds", "Publication", "SendWindow"]

MAX_PACKET_ID = 65_535
FILL_BYTES = 262_144


class PacketIds:
    """Packet identifiers 1 to 65,535, each in use at most once."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._last = 0

    def allocate(self) -> int | None:
        """Return a free identifier, or None when all are in use."""
        if len(self._used) == MAX_PACKET_ID:
            return None
        number = self._last
        while True:
            number = number % MAX_PACKET_ID + 1
            if number not in self._used:
                break
        self._used.add(number)
        self._last = number
        return number

    def free(self, number: int) -> None:
        """Give an identifier back."""
        self._used.discard(number)


@dataclass(slots=True, eq=False)
class Publication:
    """A QoS 1 message of ours; it keeps its packet id for as long as the session lives."""

    topic: str
    payload: bytes
    retain: bool = False
    packet_id: int | None = None

    def encode(self, *, packet_id: int, duplicate: bool) -> bytes:
        """Encode the PUBLISH packet."""
        return mqtt5.PublishPacket(
            self.topic,
            self.payload,
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain=self.retain,
            packet_id=packet_id,
            duplicate=duplicate,
        ).write()


@dataclass(frozen=True, slots=True)
class Oversized:
    """A publication that the broker would not take, with both sizes in bytes."""

    publication: Publication
    size_bytes: int
    limit_bytes: int


class SendWindow:
    """The sending half of a session: at most `receive_max` publications unanswered at a time."""

    def __init__(self, ids: PacketIds) -> None:
        self._ids = ids
        self._waiting: deque[Publication] = deque()
        self._in_flight: dict[int, Publication] = {}
        self._receive_max = MAX_PACKET_ID
        self._max_packet_bytes: int | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight)

    @property
    def max_packet_bytes(self) -> int | None:
        """The broker's Maximum Packet Size on this connection (None: it stated none)."""
        return self._max_packet_bytes

    @property
    def can_send(self) -> bool:
        """Tell whether a publication waits and the window is open."""
        return bool(self._waiting) and len(self._in_flight) < self._receive_max

    def offer(self, publication: Publication) -> None:
        """Queue a publication behind all others."""
        self._waiting.append(publication)

    def withdraw(self, publication: Publication) -> None:
        """Forget a publication, unless a packet of it may be with the broker already."""
        if publication.packet_id is None and publication in self._waiting:
            self._waiting.remove(publication)

    def restart(self, *, resumed: bool, receive_max: int, max_packet_bytes: int | None) -> None:
        """Begin a connection; all that is unanswered is sent again, in the same order."""
        self._waiting.extendleft(reversed(self._in_flight.values()))
        self._in_flight.clear()
        self._receive_max = receive_max
        self._max_packet_bytes = max_packet_bytes
        if resumed:
            return
        for publication in self._waiting:
            if publication.packet_id is not None:
                self._ids.free(publication.packet_id)
                publication.packet_id = None

    def fill(self) -> tuple[list[bytes], list[Oversized]]:
        """Move publications into the window, about 256 KiB at most; return packets and misfits."""
        packets: list[bytes] = []
        misfits: list[Oversized] = []
        size_bytes = 0
        while self.can_send and size_bytes < FILL_BYTES:
            packet = self._next(misfits)
            if packet is None:
                break
            packets.append(packet)
            size_bytes += len(packet)
        return packets, misfits

    def settle(self, packet_id: int) -> Publication | None:
        """Take the answered publication out of the window; None for an unknown packet id."""
        publication = self._in_flight.pop(packet_id, None)
        if publication is not None:
            self._ids.free(packet_id)
        return publication

    def _next(self, misfits: list[Oversized]) -> bytes | None:
        while self._waiting:
            publication = self._waiting[0]
            resent = publication.packet_id is not None
            number = publication.packet_id or self._ids.allocate()
            if number is None:
                return None
            self._waiting.popleft()
            packet = publication.encode(packet_id=number, duplicate=resent)
            limit = self._max_packet_bytes
            if limit is None or len(packet) <= limit:
                publication.packet_id = number
                self._in_flight[number] = publication
                return packet
            self._ids.free(number)
            misfits.append(Oversized(publication, len(packet), limit))
        return None
