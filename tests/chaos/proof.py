"""The long proof: every kind of fault, many times; benchmarks/results/chaos.json keeps the results.

Each part runs in a process of its own and ends with one JSON line. `--quick` runs each a few times.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import facts

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "chaos.json"


@dataclass(frozen=True, slots=True)
class Part:
    """One command: its option for how often, and how often."""

    name: str
    module: str
    option: str
    count: int
    quick: int
    more: tuple[str, ...] = ()

    def command(self, count: int, seed: int) -> list[str]:
        """Return what to run."""
        given = [*self.more, self.option, str(count), "--seed", str(seed), "--json"]
        return [sys.executable, "-m", self.module, *given]


PARTS = (
    Part("kills", "tests.chaos", "--kills", 1000, 20),
    Part("crash points", "tests.chaos.sweep", "--seeds", 20, 1),
    Part("network", "tests.chaos.faults", "--proxy", 2000, 10),
    *(
        Part(name, "tests.storage", "--count", count, quick, ("--fault", fault))
        for name, fault, count, quick in (
            ("power cuts", "powercut", 2000, 20),
            ("lying syncs", "lostsync", 500, 10),
            ("damaged files", "corrupt", 1000, 10),
            ("full disk", "full", 100, 1),
            ("disk cap", "cap", 1, 1),
        )
    ),
)


def main() -> int:
    """Run the parts that are asked for; return 1 where one of them found something."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.proof", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each a few times; keeps no result")
    parser.add_argument("--only", nargs="*", help="parts to run; default: all")
    parser.add_argument("--seed", type=int, default=1, help="decides everything")
    given = parser.parse_args()
    chosen = [part for part in PARTS if not given.only or part.name in given.only]
    results = {}
    for part in chosen:
        results[part.name] = run(part, part.quick if given.quick else part.count, given.seed)
        if not given.quick:
            keep(part.name, results[part.name])
    sys.stdout.write(json.dumps(results) + "\n")
    return 0 if all(result["ok"] for result in results.values()) else 1


def run(part: Part, count: int, seed: int) -> dict[str, Any]:
    """Run one part; return its last line, with the seconds it took."""
    command = part.command(count, seed)
    sys.stderr.write(f"== {part.name}: {' '.join(command[1:])}\n")
    started_s = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    lines = done.stdout.splitlines()
    result: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    result["ok"] = done.returncode == 0
    result["command"] = "python " + " ".join(command[1:])
    result["took_s"] = round(time.monotonic() - started_s, 1)
    result.pop("folder", None)
    return result


def keep(name: str, result: dict[str, Any]) -> None:
    """Put one part's result beside those of the others."""
    kept: dict[str, Any] = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    kept["machine"] = facts()
    kept.setdefault("parts", {})[name] = result
    RESULT.write_text(json.dumps(kept, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
