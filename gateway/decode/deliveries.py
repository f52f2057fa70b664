"""Which messages a broker sends again: packets whose acknowledgement it may not have seen.

A message without an identity of its own is known again only by its packet id: a broker that resumes
a session repeats what it has no acknowledgement of, with the same id (MQTT 5, section 4.4).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

__all__ = ["Deliveries", "Delivery"]

REMEMBERED = 65_535


class Delivery(Protocol):
    """What is needed of an MQTT PUBLISH."""

    @property
    def topic(self) -> str:
        """Topic name."""

    @property
    def payload(self) -> bytes:
        """Application message."""

    @property
    def packet_id(self) -> int | None:
        """Packet id; None at QoS 0."""

    @property
    def duplicate(self) -> bool:
        """Whether the broker says that it sent the message before."""


D = TypeVar("D", bound=Delivery)


@dataclass(slots=True)
class Deliveries:
    """Packet ids of this session that were taken in, each with a checksum of its message."""

    known: dict[int, int] = field(default_factory=dict)
    """Oldest first."""
    news: list[tuple[int, int]] = field(default_factory=list)
    """What the journal does not have yet."""
    repeated: int = 0

    def sift(self, messages: Iterable[D]) -> list[D]:
        """Return the messages that were not taken in before, and remember them."""
        fresh: list[D] = []
        for message in messages:
            number = message.packet_id
            if number is None:
                fresh.append(message)
                continue
            checksum = zlib.crc32(message.payload, zlib.crc32(message.topic.encode()))
            if message.duplicate and self.known.get(number) == checksum:
                self.repeated += 1
                continue
            self.remember(number, checksum)
            self.news.append((number, checksum))
            fresh.append(message)
        return fresh

    def remember(self, number: int, checksum: int) -> None:
        """Note a packet that was taken in."""
        self.known.pop(number, None)
        self.known[number] = checksum
        while len(self.known) > REMEMBERED:
            del self.known[next(iter(self.known))]

    def forget(self) -> None:
        """Start over: the broker has lost the session, and with it the meaning of its ids."""
        self.known.clear()
        self.news.clear()

    def take_news(self) -> tuple[tuple[int, int], ...]:
        """Return what is new to the journal."""
        news, self.news = self.news, []
        return tuple(news)
