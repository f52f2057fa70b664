"""A power cut loses nothing that was acknowledged, wherever it comes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.storage.disk import Disk
from tests.storage.lostsync import run_lost_syncs
from tests.storage.powercut import run_power_cuts

CUTS = 50
LYING_CUTS = 20


def test_nothing_acknowledged_is_lost_in_many_power_cuts(tmp_path: Path) -> None:
    outcome = run_power_cuts(tmp_path, CUTS, seed=1)
    assert not outcome.findings
    assert outcome.count == CUTS
    assert outcome.figures["acknowledged"] > CUTS
    assert outcome.figures["in flight, and there"]


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
def test_commits_that_do_not_wait_for_the_disk_are_found_out(
    tmp_path: Path, synchronous: str
) -> None:
    planted = {"synchronous=FULL": f"synchronous={synchronous}"}
    outcome = run_power_cuts(tmp_path, CUTS, 1, planted)
    assert any("acknowledged commits are lost" in text for text in outcome.findings)


def test_a_disk_that_lies_sets_storage_back_but_no_number_is_used_twice(tmp_path: Path) -> None:
    outcome = run_lost_syncs(tmp_path, LYING_CUTS, seed=2)
    assert not outcome.findings
    assert outcome.figures["noticed by the head or by damage"]


def test_the_cut_tears_what_was_not_synced_and_keeps_what_was() -> None:
    images = set()
    for seed in range(40):
        disk = Disk(random.Random(seed), cut_at=4)
        disk.open("file", is_new=True)
        disk.write("file", 0, b"a" * 600)
        disk.sync("file")
        disk.write("file", 600, b"b" * 1000)
        disk.write("file", 100, b"c" * 100)
        assert disk.left is not None
        assert disk.left["file"][:100] == b"a" * 100
        images.add(disk.left["file"])
    assert {len(image) for image in images} >= {600, 1600}
    assert any(b"c" in image for image in images)
