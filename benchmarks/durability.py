"""What the durable gateway promises: throughput in a small window, outages, recovery, cost.

Every part has a stand of its own, its storage on a real disk.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.disk import disk_folder, memory_folder
from benchmarks.load import Load
from benchmarks.outage import measure_outage
from benchmarks.process import OTHER_CORE, on_core
from benchmarks.recovery import measure_recovery
from benchmarks.report import Report, median
from benchmarks.stand import Cost, Setting, open_stand
from benchmarks.window import measure_window

STREAMS = 1000
ROWS = 1300
"""Rows of a stream in a backlog."""


def main() -> None:
    """Run everything and report."""
    report = Report.from_command_line("durability", about=__doc__)
    report.add(runs={})
    load, waiting = Load(STREAMS), backlog(report)
    with disk_folder() as folder, on_core(OTHER_CORE):
        measure_window(report, made(folder / "window"), load)
        measure_outage(report, made(folder / "outage"), *waiting)
        measure_recovery(report, made(folder / "recovery"), *waiting)
        measure_sync(report, folder, load)
    report.finish()


def backlog(report: Report) -> tuple[Load, int]:
    """Return streams and readings such that most readings are in summaries that wait.

    A stream's newest rows, up to 256, are in none yet.
    """
    readings = report.size(quick=260_000, full=1_300_000)
    return Load(max(min(readings // ROWS, STREAMS), 1)), readings


def measure_sync(report: Report, folder: Path, load: Load) -> None:
    """Report what a disk costs beside memory, where a sync is free; runs take turns."""
    messages = report.size(quick=40_000, full=200_000)
    disk: list[Cost] = []
    memory: list[Cost] = []
    with (
        memory_folder() as shared,
        open_stand(folder / "on-disk", load) as first,
        open_stand(folder / "in-memory", load, Setting(storage=shared / "data")) as second,
    ):
        for stand in (first, second):
            stand.run(messages)
        for _ in range(report.runs):
            disk.append(first.run(messages))
            memory.append(second.run(messages))
        first.check()
        second.check()
    tell_sync(report, disk, memory)


def tell_sync(report: Report, disk: list[Cost], memory: list[Cost]) -> None:
    """Report both, and the medians of the ratios of neighbouring runs."""
    pairs = list(zip(disk, memory, strict=True))
    for name, costs in (("disk", disk), ("memory", memory)):
        report.result["runs"][f"{name}_us"] = [round(cost.us_per_message, 3) for cost in costs]
        report.add(
            **{
                f"{name}_us_per_reading": median([cost.us_per_message for cost in costs]),
                f"{name}_messages_per_s": round(median([cost.rate for cost in costs])),
                f"{name}_commits_per_s": round(median([cost.commits_per_s for cost in costs])),
            }
        )
    report.add(
        disk_to_memory_us=median([one.us_per_message / two.us_per_message for one, two in pairs]),
        disk_to_memory_rate=median([one.rate / two.rate for one, two in pairs]),
    )


def made(folder: Path) -> Path:
    """Make a folder and return it."""
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    main()
