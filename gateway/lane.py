"""Publishes one broker's outbox, in order, while the broker is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from gateway.outbox import Entry, Outbox
from wire.mqtt import MqttError, Session, SessionClosedError

__all__ = ["Lane"]

log = logging.getLogger("vedette.gateway")

WINDOW = 64
"""Publications on their way at a time."""


class Lane:
    """The shell of an outbox: takes entries out, publishes them, counts refusals."""

    def __init__(self, session: Session, outbox: Outbox) -> None:
        self.session = session
        self.outbox = outbox
        self.refused = 0
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._flying: set[asyncio.Task[None]] = set()

    def extend(self, entries: Iterable[Entry]) -> None:
        """Queue entries; they leave as soon as the loop turns."""
        for entry in entries:
            self.outbox.append(entry)
        if self.outbox.pending:
            self._idle.clear()
            self._more.set()

    async def run(self) -> None:
        """Publish for ever; at most WINDOW messages wait for their PUBACK."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._more.wait()
                self._more.clear()
                while len(self._flying) < WINDOW and (entry := self.outbox.take()):
                    task = group.create_task(self._publish(entry), name=f"publish {entry.topic}")
                    self._flying.add(task)
                    task.add_done_callback(self._landed)

    async def drained(self) -> None:
        """Wait until everything queued so far is acknowledged."""
        await self._idle.wait()

    async def _publish(self, entry: Entry) -> None:
        try:
            await self.session.publish(entry.topic, entry.payload, retain=entry.retain)
        except SessionClosedError:
            return
        except MqttError as error:
            self.refused += 1
            level = logging.DEBUG if self.refused > 1 else logging.WARNING
            log.log(level, "publish refused, and counted from now on: %s %s", entry.topic, error)
        else:
            self.outbox.published(entry)

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._flying.discard(task)
        if self.outbox.pending:
            self._more.set()
        elif not self._flying:
            self._idle.set()
