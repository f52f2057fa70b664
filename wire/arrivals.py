"""Received messages that wait to be taken, and the acknowledgements owed for them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import mqtt5

from wire.stall import StallEstimate

__all__ = ["Arrivals", "Inbound", "encode_acknowledgements"]

PUBACK = 0x40020000  # type 4, remaining length 2; the packet id fills the low 16 bits
STALE = -1


@dataclass(slots=True)
class Inbound:
    """One batch of messages in order of arrival, all received over one connection."""

    packets: list[mqtt5.PublishPacket]
    connection: int
    order: int = field(default=STALE, repr=False)


class Arrivals:
    """The receiving half of a session.

    `owed` counts the QoS 1 packets of this connection whose PUBACK was not released yet.
    """

    def __init__(self, receive_max: int) -> None:
        self.packets: list[mqtt5.PublishPacket] = []
        self.owed = 0
        self.stall = StallEstimate(receive_max)
        self._orphans: list[mqtt5.PublishPacket] = []
        self._connection = 0
        self._taken: dict[int, list[int]] = {}
        self._finished: set[int] = set()
        self._taken_count = 0
        self._released_count = 0

    def __len__(self) -> int:
        return len(self.packets) + len(self._orphans)

    def restart(self, connection: int, *, resumed: bool) -> None:
        """Begin a connection. What was not taken is dropped where the broker will send it again."""
        left = [packet for packet in self.packets if not (resumed and packet.packet_id)]
        self._orphans += left
        self.packets = []
        self.owed = 0
        self.stall.reset()
        self._connection = connection
        self._taken.clear()
        self._finished.clear()
        self._taken_count = 0
        self._released_count = 0

    def take(self, limit: int) -> Inbound:
        """Remove and return the oldest messages, at most `limit`."""
        if self._orphans:
            orphans, self._orphans = self._orphans[:limit], self._orphans[limit:]
            return Inbound(orphans, self._connection - 1)
        if len(self.packets) <= limit:
            packets, self.packets = self.packets, []
        else:
            packets = self.packets[:limit]
            del self.packets[:limit]
        order = self._taken_count
        self._taken_count += 1
        self._taken[order] = packet_ids(packets)
        return Inbound(packets, self._connection, order)

    def drop_unguarded(self, start: int) -> int:
        """Drop the QoS 0 messages from place `start` on; return how many they were."""
        kept = [packet for packet in self.packets[start:] if packet.packet_id is not None]
        dropped = len(self.packets) - start - len(kept)
        self.packets[start:] = kept
        return dropped

    def is_stale(self, inbound: Inbound) -> bool:
        """Tell whether a batch came over an earlier connection."""
        return inbound.connection != self._connection or inbound.order == STALE

    def release(self, inbound: Inbound) -> list[int]:
        """Finish a batch; return the packet ids that may be acknowledged now, in order."""
        if inbound.order in self._taken:
            self._finished.add(inbound.order)
        released: list[int] = []
        while self._released_count in self._finished:
            self._finished.remove(self._released_count)
            released += self._taken.pop(self._released_count)
            self._released_count += 1
        self.owed -= len(released)
        return released


def packet_ids(packets: Sequence[mqtt5.PublishPacket]) -> list[int]:
    """Return the packet ids of the QoS 1 packets, in order."""
    return [number for packet in packets if (number := packet.packet_id) is not None]


def encode_acknowledgements(ids: Sequence[int]) -> bytes:
    """Encode one successful PUBACK for each packet id (MQTT 5, section 3.4: four bytes each).

    >>> encode_acknowledgements([1, 258]).hex()
    '4002000140020102'
    """
    return struct.pack(f">{len(ids)}I", *[PUBACK | number for number in ids])
