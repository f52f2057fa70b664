"""`python -m tests.chaos --kills N --seed S --json`: the kill test; exit code 1 on a finding."""

from __future__ import annotations

from tests.chaos.cli import run_cli
from tests.chaos.kill import run_kills

if __name__ == "__main__":
    run_cli(
        "python -m tests.chaos",
        __doc__ or "",
        count="kills",
        readings_each=1000,
        run=lambda folder, count, seed, readings, progress: run_kills(
            folder, kills=count, seed=seed, readings=readings, progress=progress
        ),
    )
