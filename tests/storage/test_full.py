"""A full disk holds a gateway up and costs nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.full import MountError, run_full_disks

CYCLES = 2


@pytest.mark.usefixtures("needs_mosquitto")
def test_a_full_disk_holds_messages_back_and_everything_arrives_once_there_is_room(
    tmp_path: Path,
) -> None:
    try:
        outcome = run_full_disks(tmp_path, CYCLES, seed=1)
    except MountError as error:
        pytest.skip(str(error))
    assert not outcome.findings
    assert outcome.count == CYCLES
    assert outcome.figures["messages held back"]
