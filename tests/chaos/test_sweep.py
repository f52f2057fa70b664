"""The crash-point sweep: each program dies on either side of each of its steps, one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.crash import Crash
from tests.chaos.stage import Stage, open_stage
from tests.chaos.sweep import PLAN, all_crashes, strike_at

pytestmark = [pytest.mark.usefixtures("needs_mosquitto"), pytest.mark.timeout(90)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One stage that lives through all of it, so that each crash meets what the others left."""
    with open_stage(tmp_path_factory.mktemp("sweep"), PLAN) as opened:
        opened.start()
        yield opened


@pytest.mark.parametrize("crash", all_crashes(), ids=str)
def test_a_program_comes_back_from_a_crash(stage: Stage, crash: Crash) -> None:
    strike_at(stage, crash)


def test_after_all_crashes_nothing_is_lost_and_nothing_counts_twice(stage: Stage) -> None:
    stage.start()
    stage.enough()
    stage.finish()
    report, findings = stage.judge()
    assert findings == []
    assert report.stored == report.published > 0
