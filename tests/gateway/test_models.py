"""How models come: chunks in any order, manifests of any age, files of any kind."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ModelRefusedError
from gateway.models.shelf import Shelf, keep_blocking, load_folder_blocking
from gateway.models.transfer import Transfer
from tests.gateway.graphs import bundled, joint, load, magnitude
from wire.messages import CHUNK_BYTES, ModelManifest, ModelTarget


def target(data: bytes, *, name: str = "m", version: int = 1, **changes: object) -> ModelTarget:
    given = {
        "id": name,
        "version": version,
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_bytes": len(data),
        "chunks": -(-len(data) // CHUNK_BYTES),
    }
    return ModelTarget(**(given | changes))  # type: ignore[arg-type]


def chunks(data: bytes) -> list[tuple[int, bytes]]:
    return [
        (at // CHUNK_BYTES, data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)
    ]


def manifest(*targets: ModelTarget, version: int = 1) -> ModelManifest:
    return ModelManifest(version=version, targets=targets)


DATA = random.Random(1).randbytes(3 * CHUNK_BYTES + 77)


@given(st.lists(st.integers(0, 3), max_size=8), st.randoms(use_true_random=False))
def test_chunks_may_come_in_any_order_and_more_than_once(
    extra: list[int], rng: random.Random
) -> None:
    transfer, wanted = Transfer(), target(DATA)
    assert transfer.announce(manifest(wanted)) == [wanted]
    parts = chunks(DATA)
    order = [*range(len(parts)), *extra]
    rng.shuffle(order)
    done = [transfer.receive(wanted.sha256, *parts[index]) for index in order]
    finished = [one for one in done if one]
    assert finished == [(wanted, DATA)]
    missing = set(range(4))
    for index, one in zip(order, done, strict=True):
        missing.discard(index)
        if one:
            assert not missing
    assert transfer.partial == {}


def test_a_missing_chunk_keeps_the_transfer_open() -> None:
    transfer, wanted = Transfer(), target(DATA)
    transfer.announce(manifest(wanted))
    for index, part in chunks(DATA)[1:] * 2:
        assert transfer.receive(wanted.sha256, index, part) is None
    assert wanted.sha256 in transfer.partial
    assert transfer.receive(wanted.sha256, 0, b"") is None
    assert transfer.receive("0" * 64, *chunks(DATA)[0]) is None
    assert transfer.receive(wanted.sha256, *chunks(DATA)[0]) == (wanted, DATA)


@pytest.mark.parametrize(
    ("changes", "parts", "reason"),
    [
        ({"sha256": "0" * 64}, chunks(DATA), "hash"),
        ({"size_bytes": len(DATA) + 1}, chunks(DATA), "size"),
        ({}, [(4, b"x")], "chunk"),
        ({}, [(0, b"x" * (CHUNK_BYTES + 1))], "chunk"),
        ({}, [*chunks(DATA)[:-1], (3, b"short")], "size"),
        ({}, [*chunks(DATA)[:-1], (3, DATA[-77:-1] + b"\0")], "hash"),
    ],
)
def test_what_is_not_the_announced_file_is_refused_once(
    changes: dict[str, object], parts: list[tuple[int, bytes]], reason: str
) -> None:
    transfer, wanted = Transfer(), target(DATA, **changes)
    transfer.announce(manifest(wanted))
    with pytest.raises(ModelRefusedError, match=r"expected .*got ") as refusal:
        receive_all(transfer, wanted, parts)
    assert refusal.value.reason == reason
    assert transfer.partial == {}
    assert transfer.announce(manifest(wanted)) == []
    newer = target(DATA, version=2)
    assert transfer.announce(manifest(newer, version=2)) == [newer]


def receive_all(transfer: Transfer, wanted: ModelTarget, parts: list[tuple[int, bytes]]) -> None:
    for part in parts:
        transfer.receive(wanted.sha256, *part)


def test_only_newer_versions_and_newer_manifests_count() -> None:
    transfer = Transfer({"m": 5})
    assert transfer.announce(manifest(target(DATA, version=5), version=9)) == []
    assert transfer.announce(manifest(target(DATA, version=4), version=9)) == []
    assert transfer.announce(manifest(target(DATA, version=6), version=8)) == []
    newer = target(DATA, version=6)
    assert transfer.announce(manifest(newer, version=9)) == [newer]
    assert transfer.announce(manifest(newer, version=9)) == []


def test_a_target_that_is_superseded_half_way_is_dropped() -> None:
    transfer, old, other = Transfer(), target(DATA), target(DATA[::-1], version=2)
    transfer.announce(manifest(old))
    transfer.receive(old.sha256, *chunks(DATA)[0])
    assert transfer.announce(manifest(other, version=2)) == [other]
    assert set(transfer.partial) == {other.sha256}
    for part in chunks(DATA)[1:]:
        assert transfer.receive(old.sha256, *part) is None
    done = [transfer.receive(other.sha256, *part) for part in chunks(DATA[::-1])]
    assert done[-1] == (other, DATA[::-1])


# Shelf


def test_the_newest_of_a_folder_serves_and_bad_files_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(joint(["a"], version=3).data)
    (tmp_path / "b.onnx").write_bytes(joint(["a"], version=2).data)
    (tmp_path / "c.onnx").write_bytes(magnitude().data)
    (tmp_path / "d.onnx").write_bytes(bundled()[:1000])
    (tmp_path / "e.onnx").mkdir()
    (tmp_path / "f.txt").write_bytes(b"no model")
    shelf = Shelf(load(bundled()))
    load_folder_blocking(shelf, tmp_path, most_rows=256)
    assert {name: scorer.card.version for name, scorer in shelf.scorers.items()} == {
        "joint": 3,
        "plain": 1,
    }
    assert [reason.split(":")[0] for reason in shelf.refused] == ["d.onnx", "e.onnx"]
    assert [scorer.card.id for scorer in shelf.line_up()] == ["plain", "joint"]


def test_without_a_folder_the_bundled_model_serves(tmp_path: Path) -> None:
    shelf = Shelf(load(bundled()))
    load_folder_blocking(shelf, tmp_path / "none", most_rows=256)
    assert shelf.line_up() == [shelf.bundled]
    assert shelf.refused == []


def test_refusals_are_kept_short_and_the_newest_eight() -> None:
    shelf = Shelf(load(bundled()))
    for at in range(20):
        shelf.refuse(ModelRefusedError(f"m{at}", "reason", "x" * 1000))
    assert len(shelf.refused) == 8
    assert shelf.refused[-1].startswith("m19: reason: ")
    assert max(map(len, shelf.refused)) == 300


def test_a_kept_file_replaces_the_older_and_leaves_no_part(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "models"
    for version in (1, 2):
        keep_blocking(joint(["a"], version=version), folder)
    assert [path.name for path in folder.iterdir()] == ["joint.onnx"]
    assert (folder / "joint.onnx").read_bytes() == joint(["a"], version=2).data
