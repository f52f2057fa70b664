"""The crash-point sweep: each program dies right before and right after each of its steps."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.chaos.crash import Crash
from tests.chaos.points import POINTS, RARE
from tests.chaos.stage import Plan, Stage, StuckError, open_stage

__all__ = ["PLAN", "all_crashes", "run_sweep", "strike_at"]

PLAN = Plan(sources=6, channels=2, rows=1_000_000, rate=240.0, rows_per_message=2)
REACHED_S = 70.0
"""A gateway that gets no answer asks ever more rarely, down to every 30 s."""
DEEPEST = 4
FREQUENT = ("--plant", "frequent checkpoints")


def all_crashes() -> list[Crash]:
    """Every point, before and after."""
    return [Crash(name, when) for name in POINTS for when in ("before", "after")]  # type: ignore[arg-type]


def strike_at(stage: Stage, crash: Crash) -> None:
    """Let the program run until it dies at the point; whoever lies dead comes back meanwhile.

    Raises StuckError when it never gets there or leaves otherwise.
    """
    victim = stage.programs[POINTS[crash.point].program]
    others = tuple(name for name in stage.programs if name != victim.name)
    harmless = FREQUENT if crash.point in RARE and victim is stage.gateway else ()
    victim.kill()
    for name in others:
        if not stage.programs[name].is_running:
            stage.programs[name].start()
    victim.start(tampering=(*harmless, "--crash", str(crash)))
    stage.until(
        lambda: not victim.is_running,
        f"{crash} was never reached",
        timeout_s=REACHED_S,
        tended=others,
    )
    code = victim.wait(1.0)
    if code != -signal.SIGKILL:
        raise StuckError(f"{victim.name} left with {code} on its way to {crash} ({stage.folder})")


def run_sweep(
    folder: Path, *, seeds: int, seed: int, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """Sweep once a seed, each in an order and a depth of its own; `ok` says whether all is well."""
    started_s = time.monotonic()
    totals = {"crashes": 0, "published": 0, "stored": 0, "lost": 0, "duplicated": 0, "gaps": 0}
    findings: list[str] = []
    for number in range(seeds):
        one = sweep_once(folder / f"seed-{seed + number}", _shuffled(seed + number))
        findings += [f"seed {seed + number}: {finding}" for finding in one.pop("findings")]
        totals = {name: count + one[name] for name, count in totals.items()}
        progress(number + 1, totals["published"])
    seconds = round(time.monotonic() - started_s, 1)
    facts = totals | {"points": len(POINTS), "seeds": seeds, "seed": seed, "seconds": seconds}
    return facts | {"findings": findings, "ok": not findings, "folder": str(folder)}


def sweep_once(folder: Path, crashes: Iterable[Crash]) -> dict[str, Any]:
    """Let one stage live through all crashes; return counts and findings."""
    done = 0
    with open_stage(folder, PLAN) as stage:
        stage.start()
        for crash in crashes:
            try:
                strike_at(stage, crash)
            except StuckError as stuck:
                stage.findings.append(str(stuck))
                stage.programs[POINTS[crash.point].program].kill()
            stage.start()
            done += 1
        stage.enough()
        stage.finish()
        report, findings = stage.judge()
    return report.facts() | {"crashes": done, "findings": findings[:50]}


def _shuffled(seed: int) -> list[Crash]:
    dice = random.Random(seed)
    crashes = [
        Crash(crash.point, crash.when, 1 if crash.point in RARE else dice.randint(1, DEEPEST))
        for crash in all_crashes()
    ]
    dice.shuffle(crashes)
    return crashes


if __name__ == "__main__":
    from tests.chaos.cli import run_cli

    run_cli(
        "python -m tests.chaos.sweep",
        __doc__ or "",
        count="seeds",
        readings_each=1,
        run=lambda folder, count, seed, _readings, progress: run_sweep(
            folder, seeds=count, seed=seed, progress=progress
        ),
    )
