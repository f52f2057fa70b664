"""The command line of the long runs: a count, a seed, progress, one JSON line at the end."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ["Run", "run_cli"]

Tell: TypeAlias = Callable[[int, int], None]
Run: TypeAlias = Callable[[Path, int, int, int, Tell], dict[str, Any]]
"""(folder, count, seed, readings, progress) -> result with `ok`, `findings` and `folder`."""
LEAST_READINGS = 20_000


def run_cli(program: str, text: str, *, count: str, readings_each: int, run: Run) -> NoReturn:
    """Parse, run, report, and leave with 0 if all is well, else 1.

    `count` names the option that says how often; each time is worth `readings_each` readings.
    """
    parser = argparse.ArgumentParser(prog=program, description=text)
    parser.add_argument(f"--{count}", dest="count", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="decides the schedule")
    parser.add_argument("--readings", type=int, help="at least so many; default: by the count")
    parser.add_argument("--json", action="store_true", help="only the JSON object on stdout")
    parser.add_argument("--keep-folder", action="store_true", help="leave all files where they are")
    given = parser.parse_args()
    readings = given.readings or max(LEAST_READINGS, readings_each * given.count)
    folder = Path(tempfile.mkdtemp(prefix="vedette-chaos-"))
    with _progress(count, given.count, readings) as tell:
        result = run(folder, given.count, given.seed, readings, tell)
    if result["ok"] and not given.keep_folder:
        shutil.rmtree(folder)
    if not given.json:
        for finding in result["findings"]:
            sys.stdout.write(f"finding: {finding}\n")
    sys.stdout.write(json.dumps(result) + "\n")
    sys.exit(0 if result["ok"] else 1)


class _progress:  # noqa: N801 - used like a function
    """A bar on a terminal, else a line now and then."""

    def __init__(self, what: str, count: int, readings: int) -> None:
        self._what, self._count, self._readings = what, count, readings
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeRemainingColumn(), TextColumn("{task.fields[readings]} readings taken"),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._is_terminal = console.is_terminal

    def __enter__(self) -> Tell:
        self._bar.start()
        self._task = self._bar.add_task(self._what, total=self._count, readings=0)
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _tell(self, done: int, readings: int) -> None:
        shown = {"readings": f"{readings:,}"} if readings else {}
        self._bar.update(self._task, completed=done, **shown)
        if not self._is_terminal and readings:
            sys.stderr.write(f"{self._what} {done}/{self._count}: {readings:,} readings taken\n")
