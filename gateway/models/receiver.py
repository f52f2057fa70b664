"""Takes models in from the cloud: manifest, chunks, checks, then onto the shelf."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from gateway.errors import ModelRefusedError
from gateway.models.shelf import Shelf, keep_blocking, load_blocking
from gateway.models.transfer import Transfer
from gateway.score.scorer import Scorer
from gateway.subscription import subscribe_until_granted
from wire.codec import decode_json
from wire.errors import MessageError, WireError
from wire.messages import ModelManifest, ModelTarget
from wire.mqtt import Session
from wire.topics import MANIFEST_ROLE, BlobTopic, MetaTopic, Topics

__all__ = ["Receiver"]

log = logging.getLogger("vedette.gateway")

MOST_WAITING = 8192
"""Messages of models topics that wait, each a chunk at most: room for several large models."""


class Receiver:
    """Shell around `Transfer`: subscribes, loads in a thread, and says when the shelf changed."""

    def __init__(
        self,
        session: Session,
        topics: Topics,
        shelf: Shelf,
        *,
        folder: Path,
        most_rows: int,
        changed: Callable[[], None],
    ) -> None:
        self.session = session
        self.topics = topics
        self.shelf = shelf
        self.folder = folder
        self.most_rows = most_rows
        self.changed = changed
        self.transfer = Transfer(
            {scorer.card.id: scorer.card.version for scorer in shelf.scorers.values()}
        )
        self._messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MOST_WAITING)

    def put(self, topic: str, payload: bytes) -> None:
        """Hand over a message of a models topic; beyond MOST_WAITING it is refused."""
        try:
            self._messages.put_nowait((topic, payload))
        except asyncio.QueueFull:
            expected = f"expected at most {MOST_WAITING} messages at a time, got more"
            flood = ModelRefusedError("models", "flood", expected)
            if str(flood) not in self.shelf.refused:
                self._refuse(flood)

    async def run(self) -> None:
        """Serve for ever; a refused model is noted, and what serves goes on serving."""
        await self._ask_for(self.topics.meta(MANIFEST_ROLE))
        while True:
            topic, payload = await self._messages.get()
            try:
                await self._take(topic, payload)
            except MessageError as error:
                self._refuse(ModelRefusedError(topic, error.reason, error.detail))
            except WireError as error:
                self._refuse(ModelRefusedError(topic, "topic", str(error)))
            except ModelRefusedError as error:
                self._refuse(error)

    async def _take(self, topic: str, payload: bytes) -> None:
        match self.topics.parse(topic):
            case MetaTopic(role) if role == MANIFEST_ROLE and payload:
                manifest = decode_json(payload, ModelManifest)
                before = set(self.transfer.partial)
                for target in self.transfer.announce(manifest):
                    await self._ask_for(self.topics.blob_chunks(target.sha256))
                for sha256 in before - set(self.transfer.partial):
                    await self.session.unsubscribe(self.topics.blob_chunks(sha256))
            case BlobTopic(sha256, chunk):
                await self._take_chunk(sha256, chunk, payload)
            case _:
                return

    async def _ask_for(self, pattern: str) -> None:
        """Subscribe afresh: for a subscription that outlived our process nothing retained comes.

        First once as it is, because some brokers never answer who leaves what they do not know.
        """
        await subscribe_until_granted(self.session, pattern)
        await self.session.unsubscribe(pattern)
        await subscribe_until_granted(self.session, pattern)

    async def _take_chunk(self, sha256: str, chunk: int, payload: bytes) -> None:
        fetching = sha256 in self.transfer.partial
        try:
            done = self.transfer.receive(sha256, chunk, payload)
            if done is not None:
                await self._install(*done)
        finally:
            if fetching and sha256 not in self.transfer.partial:
                await self.session.unsubscribe(self.topics.blob_chunks(sha256))

    async def _install(self, target: ModelTarget, data: bytes) -> None:
        name = f"{target.id} {target.version}"
        scorer = await asyncio.to_thread(load_blocking, data, name=name, most_rows=self.most_rows)
        _expect_same(target, scorer, name)
        self.shelf.place(scorer)
        try:
            await asyncio.to_thread(keep_blocking, scorer.file, self.folder)
        except OSError as error:
            detail = (
                f"expected to write below {self.folder}, got {error}; it serves until a restart"
            )
            self._refuse(ModelRefusedError(name, "not_kept", detail))
        self.changed()
        log.info("model in service: %s %s", name, target.sha256)

    def _refuse(self, error: ModelRefusedError) -> None:
        self.shelf.refuse(error)
        self.changed()
        log.warning("model refused: %s", str(error))


def _expect_same(target: ModelTarget, scorer: Scorer, name: str) -> None:
    got = (scorer.card.id, scorer.card.version)
    if got != (target.id, target.version):
        detail = f"expected a card of {target.id} {target.version}, got {got[0]} {got[1]}"
        raise ModelRefusedError(name, "card", detail)
