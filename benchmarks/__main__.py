"""Runs all benchmarks, one after the other: `python -m benchmarks [--quick] [--json]`."""

from __future__ import annotations

import runpy
import sys

BENCHMARKS = ("gateway", "durability", "backtest", "uplink")

for name in BENCHMARKS:
    print(f"== {name}", file=sys.stderr, flush=True)
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
