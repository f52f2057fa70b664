"""How a benchmark is called and how it tells its result."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import facts

__all__ = ["BenchmarkError", "Report", "median"]

RESULTS = Path(__file__).parent / "results"


class BenchmarkError(Exception):
    """A measurement that would not have been true: what was expected and what came."""


def median(runs: Sequence[float]) -> float:
    """Return the median, rounded to what a measurement here can tell."""
    return round(statistics.median(runs), 3)


@dataclass(slots=True)
class Report:
    """Options of one call, and the result as it grows."""

    name: str
    quick: bool
    json: bool
    readings: int
    """Readings of one run; 0 = the benchmark's own choice."""
    folder: Path
    minutes: float = 0.0
    """How long a run lasts whose length is a time."""
    result: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_command_line(
        cls, name: str, *, about: str | None, minutes: float | None = None
    ) -> Report:
        """Parse `--quick --json --readings N --results FOLDER` and print the machine's facts.

        A benchmark that has a length in `minutes` takes `--minutes` instead of `--readings`.
        """
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
        parser.add_argument("--quick", action="store_true", help="fewer readings")
        parser.add_argument("--json", action="store_true", help="one JSON line on stdout")
        if minutes is None:
            parser.add_argument("--readings", type=int, default=0, help="trial of one run")
        else:
            parser.add_argument("--minutes", type=float, default=minutes, help="length of the run")
        parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the result")
        given = parser.parse_args(namespace=argparse.Namespace(readings=0, minutes=0.0))
        report = cls(name, given.quick, given.json, given.readings, given.results, given.minutes)
        report.result = {"benchmark": name, "quick": given.quick, "machine": facts()}
        for key, value in report.result["machine"].items():
            report.say(f"{key}: {value}")
        return report

    @property
    def runs(self) -> int:
        """Runs of everything whose median is reported: one where `--readings` asks for a trial."""
        return 1 if self.readings else 5

    def size(self, *, quick: int, full: int) -> int:
        """Return the readings of a run: as told on the command line, else by mode."""
        return self.readings or (quick if self.quick else full)

    def say(self, text: str) -> None:
        """Print for people; with --json on stderr."""
        print(text, file=sys.stderr if self.json else sys.stdout, flush=True)

    def add(self, **values: Any) -> None:
        """Add to the result and print."""
        self.result |= values
        for key, value in values.items():
            self.say(f"  {key} = {value}")

    def finish(self) -> None:
        """Write the result's file; with --json end stdout with one line that holds it all."""
        suffix = ".quick.json" if self.quick else ".json"
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{self.name}{suffix}"
        file.write_text(json.dumps(self.result, indent=2) + "\n", "utf-8")
        if self.json:
            print(json.dumps(self.result), flush=True)
