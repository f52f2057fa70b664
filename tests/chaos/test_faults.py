"""Gateway, cloud and producer behind a network that fails in every way: nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import run_faults
from tests.chaos.proxy import KINDS


@pytest.mark.usefixtures("needs_mosquitto")
@pytest.mark.timeout(180)
def test_twenty_faults_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    result = run_faults(
        tmp_path,
        count=20,
        seed=5,
        readings=10_000,
        progress=lambda _faults, _readings: None,
    )
    assert result["findings"] == []
    assert set(result["faults"]) == set(KINDS)
    assert result["published"] == result["stored"] >= 10_000
    assert (result["lost"], result["duplicated"], result["gaps"]) == (0, 0, 0)
