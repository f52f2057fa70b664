"""The sender's part of the confirm protocol for one source, without input or output."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from wire.messages import ConfirmedMessage, ConfirmRequest

__all__ = ["Answer", "Confirmed", "Confirming", "Holding", "Ignored", "SetBack"]

ASK_EVERY_S = 1.0
ANSWERABLE_S = 30.0
"""Requests older than this are not answered any more: brokers drop them (MQTT 5)."""


class Holding(NamedTuple):
    """What the disk holds of the source."""

    first: int
    """Lowest seq; `last` + 1 when it holds nothing."""
    last: int
    """Highest seq ever given in this epoch."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The gateway has everything up to `seq`: delete it."""

    seq: int
    gateway: str


@dataclass(frozen=True, slots=True)
class SetBack:
    """The disk was set back: the gateway has more of this epoch than was sent.

    Rows up to `base` are stored; number the others from 1 under a new epoch.
    """

    base: int
    gateway: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Not for us: another source or epoch, or `gateway`, to which we do not listen."""

    gateway: str | None = None


Answer: TypeAlias = Confirmed | SetBack | Ignored


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was not answered yet."""

    at_s: float
    first: int
    last: int
    turn: int
    """How often sending had been turned back when it was made."""


class Confirming:
    """Decides what to ask, what to send and what to delete; the caller owns clock, disk and link.

    On each connection: `connected`, then `request` now and then, and readings from
    `next_to_send` on in order, each told to `sent`. Nothing is sent before the first answer on
    the connection, and at most `ahead` numbers beyond what is confirmed.
    """

    def __init__(
        self,
        source: str,
        *,
        epoch: str,
        known: int = 0,
        confirmed: int = 0,
        gateway: str | None = None,
        ahead: int = 1000,
    ) -> None:
        self.source = source
        self.epoch = epoch
        self.gateway = gateway
        self.ahead = ahead
        self.ready = False
        """Whether the gateway has answered on this connection."""
        self._offered = known
        self._stored = confirmed
        self._told = 0
        self._next = 1
        self._turn = 0
        self._asked: deque[Asked] = deque()
        self._latest: Asked | None = None

    def connected(self) -> None:
        """Begin anew on a connection that carries nothing of the one before."""
        self.ready = False
        self._next = 1
        self._asked.clear()
        self._latest = None

    def request(
        self, now_s: float, *, holding: Holding, hurried: bool = False
    ) -> ConfirmRequest | None:
        """Return what to publish now, if anything; it counts as published.

        About one a second while something is unconfirmed, earlier when waiting for the answer
        would stop the sending, or when `hurried` and it could tell something new.
        """
        if self.ready and holding.last <= self._stored:
            return None
        latest_s = -math.inf if self._latest is None else self._latest.at_s
        if now_s < latest_s + ASK_EVERY_S and not self._is_urgent(holding, hurried=hurried):
            return None
        sent = self._next - 1 if self.ready else 0
        self._latest = Asked(now_s, holding.first, sent, self._turn)
        while self._asked and self._asked[0].at_s < now_s - ANSWERABLE_S:
            self._asked.popleft()
        self._asked.append(self._latest)
        self._offered = max(self._offered, holding.first - 1)  # a receiver skips what is lost
        return ConfirmRequest(sender=self.source, epoch=self.epoch, first=holding.first, last=sent)

    def next_to_send(self, holding: Holding) -> int | None:
        """Return the number to send next, None when there is none or an answer must come first."""
        if not self.ready or self._lost(holding) > self._told:
            return None
        self._next = max(self._next, holding.first)
        allowed = max(self._stored, holding.first - 1) + self.ahead
        return self._next if self._next <= min(holding.last, allowed) else None

    def sent(self, seq: int) -> None:
        """Note that everything up to `seq` was given to the connection, in order."""
        self._next = seq + 1
        self._offered = max(self._offered, seq)

    def answer(self, message: ConfirmedMessage) -> Answer:
        """Take what a gateway said and return what to do about it."""
        if (message.source, message.epoch) != (self.source, self.epoch):
            return Ignored()
        if self.gateway not in (None, message.gateway):
            return Ignored(message.gateway)
        if message.seq > self._offered:
            return SetBack(self._offered, message.gateway)
        self._stored = max(self._stored, message.seq)
        asked = self._answered(message.asked)
        if asked is not None:
            self.gateway = message.gateway
            self._told = max(self._told, asked.first)
            self._turn_back(asked, seq=message.seq)
        return Confirmed(self._stored, message.gateway)

    def _is_urgent(self, holding: Holding, *, hurried: bool) -> bool:
        """Tell whether to ask before the second is over."""
        latest = self._latest
        if not self.ready or latest is None:
            return False
        if self._lost(holding) > max(self._told, latest.first):
            return True
        unasked = self._next - 1 - latest.last if latest.turn == self._turn else self._next - 1
        return unasked > 0 if hurried else unasked >= self.ahead // 2

    def _lost(self, holding: Holding) -> int:
        """Return the `first` that the gateway must hear of before more is sent, 0 = none."""
        return holding.first if holding.first > max(self._next, self._stored + 1) else 0

    def _answered(self, last: int) -> Asked | None:
        """Find the oldest open request that an answer may belong to; earlier ones got lost."""
        for position, asked in enumerate(self._asked):
            if asked.last == last:
                for _ in range(position + 1):
                    self._asked.popleft()
                return asked
        return None

    def _turn_back(self, asked: Asked, *, seq: int) -> None:
        """Send again what the answer shows to be lost, once for all requests made before."""
        if not self.ready:
            self.ready = True
        elif asked.last <= seq or asked.turn != self._turn:
            return
        self._turn += 1
        self._next = seq + 1
