"""Child processes on a core of their own, with their CPU time and memory read from outside."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import BenchmarkError

__all__ = ["OTHER_CORE", "ROOT", "SUBJECT_CORE", "Subject", "on_core", "output_of", "subject"]

SUBJECT_CORE, OTHER_CORE = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
"""Cores of the measured process and of everything else, the broker included."""
ROOT = Path(__file__).parent.parent
LONG_S = 300.0
STOP_S = 120.0
QUIET_S = 0.15
QUIET_SHARE = 0.02


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Let what is started meanwhile run on one core only, this process included."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(slots=True)
class Subject:
    """A child process, `python ARGUMENTS`, on a core of its own where it is the one measured."""

    arguments: tuple[str, ...]
    log: Path
    """Its stderr."""
    core: int = SUBJECT_CORE
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it, or start it again after its end."""
        with self.log.open("ab") as errors, on_core(self.core):
            self.process = subprocess.Popen(
                [sys.executable, *self.arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=ROOT,
            )

    @property
    def name(self) -> str:
        """How it was called."""
        return " ".join(self.arguments)

    @property
    def cpu_s(self) -> float:
        """User and system CPU seconds since its start, all threads, to the nanosecond.

        Raises BenchmarkError when it has ended.
        """
        if self.process.poll() is not None:
            said = self.log.read_text("utf-8", "replace")[-2000:]
            raise BenchmarkError(f"{self.name} ended with {self.process.returncode}: {said}")
        # Linux's per-process CPU clock (CPUCLOCK_SCHED); /proc counts in steps of 10 ms.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    @property
    def rss_mb(self) -> float:
        """Resident memory, 10^6 bytes."""
        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6

    @property
    def written_bytes(self) -> int:
        """Bytes that it had a disk write since its start; files in memory count nothing."""
        written: int = psutil.Process(self.process.pid).io_counters().write_bytes
        return written

    def await_line(self, expected: str) -> None:
        """Wait for a line on its stdout; raise BenchmarkError for any other."""
        assert self.process.stdout is not None
        ready = select.select([self.process.stdout], [], [], LONG_S)[0]
        line = self.process.stdout.readline().decode().strip() if ready else "nothing"
        if line != expected:
            raise BenchmarkError(f"{self.name}: expected {expected!r}, got {line!r}")

    def settle(self) -> None:
        """Wait until it has stopped working: under 2 % of a core for 0.15 s."""
        deadline, used = time.monotonic() + LONG_S, self.cpu_s
        while time.monotonic() < deadline:
            time.sleep(QUIET_S)
            before, used = used, self.cpu_s
            if used - before < QUIET_SHARE * QUIET_S:
                return
        raise BenchmarkError(f"{self.name}: expected rest within {LONG_S} s")

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self._close()

    def stop(self) -> None:
        """Ask it to end, and end it when it does not."""
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._close()

    def _close(self) -> None:
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def subject(*arguments: str, log: Path, core: int = SUBJECT_CORE) -> Iterator[Subject]:
    """Run `python ARGUMENTS` on a core while the context lasts; stderr goes to `log`."""
    running = Subject(arguments, log, core)
    try:
        yield running
    finally:
        running.stop()


def output_of(*arguments: str) -> dict[str, Any]:
    """Run `python ARGUMENTS` to its end; return the JSON object that its last line is."""
    done = subprocess.run(
        [sys.executable, *arguments], stdout=subprocess.PIPE, cwd=ROOT, check=True, timeout=LONG_S
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
