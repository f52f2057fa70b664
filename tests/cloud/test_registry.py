from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import update

from cloud.database import database_url, open_database
from cloud.errors import RegistryError
from cloud.push import chunk_publishes, clearings, manifest_publish
from cloud.registry import Registry
from cloud.tables import blobs
from cloud.train.subpca import FleetSettings, fit_fleet
from tests.cloud.coupled import coupled
from wire.codec import decode_json
from wire.contract import ModelFile
from wire.messages import CHUNK_BYTES, ModelManifest
from wire.topics import BlobTopic, Topics

TOPICS = Topics()


def model(version: int, *, rows: int = 300) -> ModelFile:
    return fit_fleet(coupled(2, rows=rows), model_id="m", version=version)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(open_database(database_url(str(tmp_path / "cloud.sqlite"))))


def test_a_registered_file_comes_back_and_is_no_champion_yet(registry: Registry) -> None:
    first = model(1)
    for _ in range(2):
        registry.register(first, rows=600, created_us=5)
    (entry,) = registry.versions()
    assert (entry.model, entry.version, entry.assets, entry.rows) == ("m", 1, 2, 600)
    assert not entry.champion
    assert registry.champions() == []
    assert registry.load(first.sha256).data == first.data
    assert (registry.next_version("m"), registry.next_version("other")) == (2, 1)


def test_a_version_never_changes_its_bytes(registry: Registry) -> None:
    registry.register(model(1), rows=1, created_us=1)
    with pytest.raises(RegistryError, match="give it a higher version"):
        registry.register(model(1, rows=301), rows=1, created_us=1)


def test_promotion_replaces_the_champion_and_raises_the_manifest(registry: Registry) -> None:
    for version in (1, 2):
        registry.register(model(version), rows=version, created_us=version)
    assert registry.manifest_version() == 0
    assert registry.promote("m", version=1) == 1
    assert registry.promote("m", version=1) == 1
    assert registry.superseded() == []
    assert registry.promote("m", version=2) == 2
    assert [champion.version for champion in registry.champions()] == [2]
    (old,) = registry.superseded()
    assert old.version == 1
    registry.mark_withdrawn([old])
    assert registry.superseded() == []


def test_unknown_versions_and_damaged_files_are_refused(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="register it first"):
        registry.promote("m", version=1)
    with pytest.raises(RegistryError, match="expected a kept file"):
        registry.load("0" * 64)
    first = model(1)
    registry.register(first, rows=1, created_us=1)
    with registry._engine.begin() as connection:
        connection.execute(update(blobs).values(data=first.data[:-3]))
    with pytest.raises(RegistryError, match="train it again"):
        registry.load(first.sha256)


def test_the_chunks_of_a_push_make_up_the_file(registry: Registry) -> None:
    settings = FleetSettings(components=8)
    big = fit_fleet(coupled(50, rows=300), model_id="m", version=1, settings=settings)
    registry.register(big, rows=1, created_us=1)
    version = registry.promote("m", version=1)
    chunks = chunk_publishes(big, topics=TOPICS)
    manifest = manifest_publish(registry.champions(), version=version, topics=TOPICS)
    (target,) = decode_json(manifest.payload, ModelManifest).targets
    assert target.chunks == len(chunks) > 1
    assert max(len(chunk.payload) for chunk in chunks) == CHUNK_BYTES
    joined = b"".join(chunk.payload for chunk in chunks)
    assert hashlib.sha256(joined).hexdigest() == target.sha256
    assert TOPICS.parse(chunks[1].topic) == BlobTopic(big.sha256, 1)
    cleared = clearings(registry.champions()[0], topics=TOPICS)
    assert [message.topic for message in cleared] == [chunk.topic for chunk in chunks]
    assert {message.payload for message in cleared} == {b""}
