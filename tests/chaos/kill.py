"""The kill test: kill -9 of every program again and again while readings flow; then the check."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.stage import Plan, Stage, open_stage

__all__ = ["VICTIMS", "Kill", "kill_schedule", "plan_for", "run_kills"]

VICTIMS = ("gateway", "cloud", "broker", "producer")
SOONEST_S, LATEST_S = 0.1, 1.6
CHANNELS = 10
MEAN_S = (SOONEST_S + LATEST_S) / 2 + 0.05
HEADSTART = 0.9
"""Share of the readings that are taken, if all goes well, before the last kill."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Who is killed, and how long after the kill before."""

    victim: str
    after_s: float


def kill_schedule(count: int, seed: int) -> Iterator[Kill]:
    """Yield as many kills as asked for, each program about as often."""
    dice = random.Random(seed)
    for _ in range(count):
        yield Kill(dice.choice(VICTIMS), dice.uniform(SOONEST_S, LATEST_S))


def plan_for(readings: int, kills: int) -> Plan:
    """Spread the readings over the time that the kills take."""
    sources = 4 if readings < 100_000 else 8
    rows = -(-readings // (sources * CHANNELS))
    alive = 1 - 0.35  # a producer that is killed takes a while to come back
    rate = HEADSTART * rows * sources / max(kills * MEAN_S * alive, 1.0)
    return Plan(sources, CHANNELS, rows, rate=round(rate, 2), rows_per_message=8)


def run_kills(
    folder: Path, *, kills: int, seed: int, readings: int, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Run the test; return its result, of which `ok` says whether all is well.

    `progress` is told the kills and the readings so far.
    """
    started_s = time.monotonic()
    victims: Counter[str] = Counter()
    with open_stage(folder, plan_for(readings, kills)) as stage:
        stage.start()
        for number, kill in enumerate(kill_schedule(kills, seed), 1):
            strike(stage, kill)
            victims[kill.victim] += 1
            progress(number, stage.taken() if number % 10 == 0 else 0)
        stage.producer.kill()  # it comes back without its pace: what is left is taken at once
        stage.finish(timeout_s=120.0)
        killing_s = time.monotonic() - started_s
        report, findings = stage.judge()
        exits = {name: Counter(program.exits) for name, program in stage.programs.items()}
    facts = report.facts() | {
        "kills": kills,
        "kills_by_victim": dict(victims),
        "alerts": report.alerts_got,
    }
    facts |= {"seconds": round(killing_s, 1), "seed": seed, "findings": findings[:50]}
    facts |= {"exits": {name: dict(codes) for name, codes in exits.items() if codes}}
    return facts | {"ok": not findings, "folder": str(folder)}


def strike(stage: Stage, kill: Kill) -> None:
    """Wait, kill the victim and start it again in the same place."""
    time.sleep(kill.after_s)
    stage.tend()
    victim = stage.programs[kill.victim]
    victim.kill()
    victim.start()
