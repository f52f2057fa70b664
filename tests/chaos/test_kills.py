"""kill -9 of gateway, cloud, broker and producer at random while readings flow: nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.kill import VICTIMS, kill_schedule, run_kills

SEED = 20_261_124


def test_a_seed_decides_the_schedule_and_everybody_gets_a_turn() -> None:
    schedule = list(kill_schedule(60, SEED))
    assert schedule == list(kill_schedule(60, SEED)) != list(kill_schedule(60, SEED + 1))
    assert {kill.victim for kill in schedule} == set(VICTIMS)
    assert all(0.1 <= kill.after_s <= 1.6 for kill in schedule)


@pytest.mark.usefixtures("needs_mosquitto")
@pytest.mark.timeout(300)
def test_sixty_kills_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    result = run_kills(
        tmp_path, kills=60, seed=SEED, readings=20_000, progress=lambda _kills, _readings: None
    )
    assert result["findings"] == []
    assert result["published"] == result["stored"] >= 20_000
    assert (result["lost"], result["duplicated"], result["gaps"]) == (0, 0, 0)
    assert result["alerts"] >= 10
