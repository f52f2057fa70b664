"""A damaged state file never keeps a gateway from coming up, and nothing is lost in silence."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.storage.corrupt import run_damages
from tests.storage.damage import DAMAGES, damage
from tests.storage.received import Account, Span

FILES = 30
STREAM = ("s0", "c0")


def test_every_damage_is_survived_and_accounted_for(tmp_path: Path) -> None:
    outcome = run_damages(tmp_path, FILES, seed=1)
    assert not outcome.findings
    assert outcome.count == FILES
    assert outcome.figures["damages noticed"] >= FILES // 4


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damage_changes_the_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10_000)
    DAMAGES[kind](path, random.Random(1))
    assert not path.exists() or path.read_bytes() != b"x" * 10_000


def test_the_account_finds_what_is_lost_and_what_counts_twice() -> None:
    stored = [Span(STREAM, 1, 10, 9), Span(STREAM, 9, 12, 4)]
    account = Account.of(15, stored, [], [])
    assert (account.silent, account.twice, account.excess) == (3 + 1, 2, 0)
    account = Account.of(15, stored, [Span(STREAM, 12, 15, 4)], [])
    assert (account.silent, account.twice, account.excess) == (1, 2, 1)


def test_the_same_seed_does_the_same_damage(tmp_path: Path) -> None:
    told = set()
    for _ in range(2):
        (tmp_path / "file").write_bytes(bytes(range(256)) * 64)
        what = damage(tmp_path / "file", random.Random(5))
        left = tmp_path / "file"
        told.add((what, left.read_bytes() if left.exists() else b""))
    assert len(told) == 1
