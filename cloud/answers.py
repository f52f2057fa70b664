"""The answers that wait to be published: of each ledger the newest, and no question forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from wire.messages import StoredMessage

__all__ = ["Answers"]


class Answers:
    """A later answer takes the place of one that waits, and keeps its `asked` if it has none."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], StoredMessage] = {}
        self._any = asyncio.Event()

    def add(self, answers: Iterable[StoredMessage]) -> None:
        """Let answers wait; takes them in the order in which they were stored."""
        for answer in answers:
            key = (answer.gateway, answer.epoch)
            before = self._waiting.get(key)
            if before is not None and not answer.asked:
                answer = msgspec.structs.replace(answer, asked=before.asked)  # noqa: PLW2901
            self._waiting[key] = answer
            self._any.set()

    async def take(self) -> list[StoredMessage]:
        """Wait for answers; return all that wait, at most one a ledger."""
        await self._any.wait()
        self._any.clear()
        taken, self._waiting = list(self._waiting.values()), {}
        return taken
