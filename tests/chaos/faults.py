"""The network test: gateway, cloud and producer reach the broker through a proxy full of faults."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.cli import run_cli
from tests.chaos.proxy import fault_schedule, running_proxy
from tests.chaos.stage import Plan, open_stage
from vedette.broker import free_port

__all__ = ["run_faults"]

MEAN_FAULT_S = 0.45


def run_faults(
    folder: Path,
    *,
    count: int,
    seed: int,
    readings: int,
    progress: Callable[[int, int], None],
    endless_share: float = 0.0,
) -> dict[str, Any]:
    """Let so many faults happen while readings flow, then check; `ok` says whether all is well."""
    started_s = time.monotonic()
    rows = -(-readings // 20)
    rate = 0.9 * rows * 4 / (count * MEAN_FAULT_S)
    plan = Plan(4, 5, rows, rate=round(rate, 2), rows_per_message=4)
    port = free_port()
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(running_proxy(port))
        stage = stack.enter_context(open_stage(folder, plan, port=port, url=proxy.url))
        stage.start()
        for number, fault in enumerate(fault_schedule(count, seed, endless_share=endless_share), 1):
            proxy.inflict(fault)
            stage.tend()
            if stage.producer.process is not None:
                stage.producer.tend()
            progress(number, stage.taken() if number % 10 == 0 else 0)
        stage.producer.kill()  # it comes back without its pace: what is left is taken at once
        stage.finish(timeout_s=300.0)
        report, findings = stage.judge()
        facts = report.facts() | {"faults": dict(proxy.proxy.happened)}
        facts["connections"] = proxy.proxy.connections
    facts |= {"alerts": report.alerts_got, "seconds": round(time.monotonic() - started_s, 1)}
    return facts | {
        "seed": seed,
        "findings": findings[:50],
        "ok": not findings,
        "folder": str(folder),
    }


if __name__ == "__main__":
    run_cli(
        "python -m tests.chaos.faults",
        __doc__ or "",
        count="proxy",
        readings_each=500,
        run=lambda folder, count, seed, readings, progress: run_faults(
            folder,
            count=count,
            seed=seed,
            readings=readings,
            progress=progress,
            endless_share=0.02,
        ),
    )
