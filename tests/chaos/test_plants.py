"""A test of the tests: every planted bug is found, and without it the same scenario is clean.

The scenarios spend their time waiting, so a few are played at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.chaos.plants import HARMLESS, PLANTS, POWER_CUT
from tests.chaos.scenarios import SCENARIOS, Tampering
from tests.chaos.stage import open_stage

pytestmark = [pytest.mark.usefixtures("needs_mosquitto"), pytest.mark.timeout(300)]
DRAIN_S = 30.0
STUCK_S = 5.0
"""A planted bug may keep readings from ever being confirmed; nobody waits long for that."""
AT_ONCE = 3
Played: TypeAlias = dict[str, Future[list[str]]]


def findings_of(
    folder: Path, scenario: str, tampering: Tampering, *, patience_s: float
) -> list[str]:
    """Play a scenario and let the checker judge."""
    chosen = SCENARIOS[scenario]
    with open_stage(folder, chosen.plan) as stage:
        chosen.run(stage, tampering)
        stage.finish(timeout_s=patience_s)
        return stage.judge()[1]


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Played]:
    """Findings of every scenario and plant that a selected test asks for."""
    asked = [item.callspec.params["name"] for item in request.session.items if _asks(item)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(_play(name, tmp_path_factory)) for name in asked}
        pool.shutdown(cancel_futures=True)


def _asks(item: pytest.Item) -> bool:
    return "played" in getattr(item, "fixturenames", ())


def _play(name: str, folders: pytest.TempPathFactory) -> Callable[[], list[str]]:
    folder = folders.mktemp(name.replace(" ", "-").replace(",", ""))
    if name in SCENARIOS:
        return lambda: findings_of(folder, name, {}, patience_s=DRAIN_S)
    plant = PLANTS[name]
    tampering = {plant.program: ("--plant", name)}
    return lambda: findings_of(folder, plant.scenario, tampering, patience_s=STUCK_S)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_is_clean(played: Played, name: str) -> None:
    assert played[name].result() == []


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(played: Played, name: str) -> None:
    assert played[name].result()


def test_there_are_enough_plants_and_each_has_a_scenario() -> None:
    assert len(PLANTS) + len(POWER_CUT) >= 12
    assert {plant.scenario for plant in PLANTS.values()} == set(SCENARIOS)
    assert HARMLESS.keys().isdisjoint(PLANTS)
