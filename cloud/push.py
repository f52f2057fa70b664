"""What must lie retained on the broker so that gateways find the champions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.registry import Registered
from wire.codec import encode_json
from wire.contract import ModelFile
from wire.messages import CHUNK_BYTES, ModelManifest, ModelTarget
from wire.topics import MANIFEST_ROLE, Topics

__all__ = ["Retained", "chunk_publishes", "clearings", "manifest_publish"]


@dataclass(frozen=True, slots=True)
class Retained:
    """One retained publish; an empty payload clears the topic."""

    topic: str
    payload: bytes


def chunk_publishes(model: ModelFile, *, topics: Topics) -> list[Retained]:
    """Return the chunks of one file, at most 48 KiB each; publish them before the manifest."""
    return [
        Retained(
            topics.blob(model.sha256, index),
            model.data[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES],
        )
        for index in range(_chunks(len(model.data)))
    ]


def manifest_publish(champions: Sequence[Registered], *, version: int, topics: Topics) -> Retained:
    """Return the list of the models in force."""
    targets = tuple(
        ModelTarget(
            id=champion.model,
            version=champion.version,
            sha256=champion.sha256,
            size_bytes=champion.size_bytes,
            chunks=_chunks(champion.size_bytes),
        )
        for champion in champions
    )
    message = ModelManifest(version=version, targets=targets)
    return Retained(topics.meta(MANIFEST_ROLE), encode_json(message))


def clearings(superseded: Registered, *, topics: Topics) -> list[Retained]:
    """Return what clears the chunks of a file that no manifest names any more."""
    chunks = range(_chunks(superseded.size_bytes))
    return [Retained(topics.blob(superseded.sha256, index), b"") for index in chunks]


def _chunks(size_bytes: int) -> int:
    return -(-size_bytes // CHUNK_BYTES)
