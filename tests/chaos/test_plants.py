"""A test of the tests: every planted bug is found, and without it the same scenario is clean."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.plants import HARMLESS, PLANTS, POWER_CUT
from tests.chaos.scenarios import SCENARIOS, Tampering
from tests.chaos.stage import open_stage

pytestmark = [pytest.mark.usefixtures("needs_mosquitto"), pytest.mark.timeout(120)]
DRAIN_S = 20.0
STUCK_S = 4.0
"""A planted bug may keep readings from ever being confirmed; nobody waits long for that."""


def findings_of(
    folder: Path, scenario: str, tampering: Tampering, *, patience_s: float
) -> list[str]:
    """Play a scenario and let the checker judge."""
    chosen = SCENARIOS[scenario]
    with open_stage(folder, chosen.plan) as stage:
        chosen.run(stage, tampering)
        stage.finish(timeout_s=patience_s)
        return stage.judge()[1]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scenario_is_clean(tmp_path: Path, scenario: str) -> None:
    assert findings_of(tmp_path, scenario, {}, patience_s=DRAIN_S) == []


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(tmp_path: Path, name: str) -> None:
    plant = PLANTS[name]
    tampering = {plant.program: ("--plant", name)}
    assert findings_of(tmp_path, plant.scenario, tampering, patience_s=STUCK_S)


def test_there_are_enough_plants_and_each_has_a_scenario() -> None:
    assert len(PLANTS) + len(POWER_CUT) >= 12
    assert {plant.scenario for plant in PLANTS.values()} == set(SCENARIOS)
    assert HARMLESS.keys().isdisjoint(PLANTS)
