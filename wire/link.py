"""One TCP connection of a session: its buffer, its signs of life, its back-pressure."""

from __future__ import annotations

import asyncio
from typing import Protocol

import mqtt5

from wire.connection_state import Cause, Ending
from wire.mqtt_errors import ProtocolViolationError

__all__ = ["Link", "LinkOwner"]

BUFFER_BYTES = 65_536
TOLERANCE = 1.5
PARTING_S = 2.0
LISTENING_SHARE = 0.5


class LinkOwner(Protocol):
    """What a link needs of the session that it serves."""

    def on_bytes(self, data: memoryview) -> int:
        """Take what has arrived; return how many bytes were whole packets."""
        ...

    def on_writable(self) -> None:
        """Note that the transport takes data again."""
        ...

    def on_silence(self) -> None:
        """Ask the broker for a sign of life."""
        ...


class Link(asyncio.BufferedProtocol):
    """Reads into one buffer, hands whole packets on, watches the peer.

    `answered` resolves when the broker answered CONNECT or the transport is gone, `ended` when the
    transport is gone, with the reason.
    """

    def __init__(self, owner: LinkOwner) -> None:
        loop = asyncio.get_running_loop()
        self.answered: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[Ending] = loop.create_future()
        self.writable = True
        self._loop = loop
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._view = memoryview(bytearray(BUFFER_BYTES))
        self._filled = 0
        self._ending: Ending | None = None
        self._reading = True
        self._heard_at = 0.0
        self._wrote_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._resting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._heard_at = self._loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the ending."""
        if self._watch is not None:
            self._watch.cancel()
        self._stop_resting()
        self._transport = None
        self.answer()
        fallback = (
            Ending(Cause.HUNG_UP, "closed without DISCONNECT")
            if exc is None
            else Ending(Cause.CONNECTION_LOST, str(exc))
        )
        if not self.ended.done():
            self.ended.set_result(self._ending or fallback)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Offer the free part of the buffer."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Hand all whole packets on; keep the rest for the next read."""
        self._heard_at = self._loop.time()
        filled = self._filled + nbytes
        try:
            used = self._owner.on_bytes(self._view[:filled])
        except ProtocolViolationError as error:
            code = mqtt5.DisconnectReasonCode(error.reason_code)
            self.part(Ending(Cause.PROTOCOL_VIOLATION, error.detail, error.reason_code), code)
            used = filled
        self._filled = filled - used
        if used and self._filled:
            self._view[: self._filled] = self._view[used:filled]
        if self._filled == len(self._view):
            self._grow()

    def pause_writing(self) -> None:
        """Stop sending: the broker does not read."""
        self.writable = False

    def resume_writing(self) -> None:
        """Send again."""
        self.writable = True
        self._owner.on_writable()

    def write(self, data: bytes) -> None:
        """Write, unless the transport is gone."""
        if self._transport is not None and data:
            self._wrote_at = self._loop.time()
            self._transport.write(data)

    def listen(self) -> None:
        """Read again after `deafen` or `rest`."""
        self._stop_resting()
        if not self._reading and self._transport is not None:
            self._reading = True
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    def deafen(self) -> None:
        """Stop reading; the broker sees the back-pressure."""
        self._stop_resting()
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def rest(self, pause_s: float) -> None:
        """Stop reading for a moment, so that the next read finds more than one message."""
        if self._reading and self._transport is not None:
            self.deafen()
            self._resting = self._loop.call_later(pause_s, self.listen)

    def keep_alive(self, interval_s: float) -> None:
        """Watch the peer: ask after half the interval of silence, end after 1.5 intervals."""
        if interval_s > 0:
            self._watch = self._loop.call_later(interval_s / 2, self._check, interval_s)

    def answer(self) -> None:
        """Note that the broker answered CONNECT."""
        if not self.answered.done():
            self.answered.set_result(None)

    def end(self, ending: Ending) -> None:
        """Break the connection off for the reason given, which `ended` will report."""
        if self._ending is None:
            self._ending = ending
        if self._transport is not None:
            self._transport.abort()

    def part(self, ending: Ending, code: mqtt5.DisconnectReasonCode) -> None:
        """Send what was written and DISCONNECT, then close; break off when that takes 2 s."""
        if self._ending is None:
            self._ending = ending
        if self._transport is None:
            return
        self.write(mqtt5.DisconnectPacket(reason_code=code).write())
        self._transport.close()
        self._loop.call_later(PARTING_S, self._transport.abort)

    async def close(self, ending: Ending) -> None:
        """Part in peace, where there still is a connection, and wait for its end."""
        if self._transport is not None:
            self.part(ending, mqtt5.DisconnectReasonCode.NORMAL_DISCONNECTION)
            await self.ended

    def _stop_resting(self) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _check(self, interval_s: float) -> None:
        now = self._loop.time()
        silent_s = now - self._heard_at
        if self._reading and silent_s >= TOLERANCE * interval_s:
            self.end(Ending(Cause.PEER_SILENT, f"nothing came for {silent_s:.1f} s"))
            return
        quiet_s = max(silent_s, now - self._wrote_at)
        if quiet_s >= LISTENING_SHARE * interval_s:
            self._owner.on_silence()
        self._watch = self._loop.call_later(interval_s / 4, self._check, interval_s)

    def _grow(self) -> None:
        larger = memoryview(bytearray(2 * len(self._view)))
        larger[: self._filled] = self._view[: self._filled]
        self._view = larger
