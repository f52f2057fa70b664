"""Runs a gateway whose wall clock is off by the seconds in a file, which may change at any time."""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main() -> int:
    """`python -m tests.storage.wrongclock FILE -- ...`: be the gateway with that clock."""
    file, split = Path(sys.argv[1]), sys.argv.index("--")
    right_s, right_ns = time.time, time.time_ns

    def offset_s() -> int:
        return int(file.read_text("ascii"))

    time.time = lambda: right_s() + offset_s()
    time.time_ns = lambda: right_ns() + offset_s() * 1_000_000_000
    from gateway.__main__ import main as run

    sys.argv = ["gateway", *sys.argv[split + 1 :]]
    return run()


if __name__ == "__main__":
    sys.exit(main())
