"""A wrong wall clock changes nothing of what readings with a time of their own come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.storage.clock import CASES, run_clocks

FEW = 4


@pytest.mark.usefixtures("needs_mosquitto")
def test_clocks_that_jump_change_no_alert_and_no_summary(tmp_path: Path) -> None:
    outcome = run_clocks(tmp_path, FEW, seed=1)
    assert not outcome.findings
    assert outcome.count == FEW
    assert outcome.figures["alerts compared"] >= FEW


def test_there_are_twelve_cases() -> None:
    assert len(CASES) == 12
