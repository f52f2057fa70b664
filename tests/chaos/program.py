"""One program of the stage: a process that can be killed and started again in the same place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Program"]

ROOT = Path(__file__).parents[2]
STOP_S = 30.0


@dataclass
class Program:
    """A command whose output goes to `<folder>/<name>.log`, run after run."""

    name: str
    entry: list[str]
    """What is run: an executable, or the interpreter and a module."""
    arguments: list[str]
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    exits: list[int] = field(default_factory=list)
    """How the runs ended that nobody killed or stopped."""
    starts: int = 0

    @property
    def log(self) -> str:
        """Everything it has said so far."""
        path = self.folder / f"{self.name}.log"
        return path.read_text("utf-8", errors="replace") if path.exists() else ""

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self, *more: str, tampering: Sequence[str] = ()) -> None:
        """Start it; further arguments count for this run only.

        With `tampering` (options of `tests.chaos.child`) something is done to it before.
        """
        assert not self.is_running, self.name
        spoilt = [sys.executable, "-m", "tests.chaos.child", self.name, *tampering, "--"]
        entry = spoilt if tampering else self.entry
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*entry, *self.arguments, *more],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                env=os.environ | self.environment,
            )
        self.starts += 1

    def tend(self) -> None:
        """Start it again where it has left by itself, as an init system would."""
        if self.process is not None and self.process.poll() is not None:
            self.exits.append(self.process.returncode)
            self.start()

    def kill(self) -> bool:
        """End it as a crash would; return whether there was anything to end."""
        if self.process is None:
            return False
        alive = self.is_running
        self.process.kill()
        self.process.wait(STOP_S)
        self.process = None
        return alive

    def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = STOP_S) -> int:
        """Ask it to leave and return its exit code; raise TimeoutExpired when it stays."""
        assert self.process is not None, self.name
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def wait(self, timeout_s: float) -> int:
        """Wait until it leaves by itself; return its exit code, or raise TimeoutExpired."""
        assert self.process is not None, self.name
        code = self.process.wait(timeout_s)
        self.process = None
        return code
