"""Readings a second of `vedette backtest` on one core, every one scored by a Sub-PCA fleet."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import fleet
from benchmarks.load import EPOCH_MS, PERIOD_MS, Load
from benchmarks.process import SUBJECT_CORE, on_core
from benchmarks.report import BenchmarkError, Report, median
from sensors.recording import Channel, Chunk, Recording, recording_of
from vedette.backtest import backtest, open_pipeline

FLEETS = {"1000_assets_of_1_channel": Load(1000), "50_assets_of_8_channels": Load(50, 8)}


def main() -> None:
    """Run both fleets and report the slower one's rate as `readings_per_s`."""
    report = Report.from_command_line("backtest", about=__doc__)
    readings = report.size(quick=600_000, full=2_000_000)
    report.add(runs={})
    with tempfile.TemporaryDirectory() as folder, on_core(SUBJECT_CORE):
        for name, load in FLEETS.items():
            models = fleet.train(load, Path(folder) / name)
            recordings = recordings_of(load, readings=readings)
            measure(report, name, recordings, models)
    rates = [report.result[f"{name}_readings_per_s"] for name in FLEETS]
    report.add(readings_per_s=min(rates))
    report.finish()


def measure(report: Report, name: str, recordings: list[Recording], models: Path) -> None:
    """Report the median rate of the pipeline, and of the whole call, over all runs."""
    pipeline_rates, whole_rates = [], []
    for _ in range(report.runs):
        started = time.process_time()
        result = backtest(recordings, open_pipeline("backtest", models))
        whole_rates.append(result.readings / (time.process_time() - started))
        pipeline_rates.append(result.readings / result.pipeline_cpu_s)
        if result.readings_scored != result.readings:
            raise BenchmarkError(
                f"expected {result.readings} readings scored, got {result.readings_scored}"
            )
    report.result["runs"][name] = [round(rate) for rate in pipeline_rates]
    report.add(
        **{
            f"{name}_readings": result.readings,
            f"{name}_models": result.models,
            f"{name}_readings_per_s": round(median(pipeline_rates)),
            f"{name}_whole_readings_per_s": round(median(whole_rates)),
        }
    )


def recordings_of(load: Load, *, readings: int) -> list[Recording]:
    """Return the load's rows as recordings in memory, one an asset."""
    rows = max(readings // load.streams, 1)
    times_us = (EPOCH_MS + np.arange(rows, dtype=np.int64) * PERIOD_MS) * 1000
    channels = tuple(Channel(f"ch{channel}") for channel in range(load.channels))
    return [
        recording_of(
            Chunk(times_us, fleet.values_of(load, asset, rows=rows)),
            asset=load.asset(asset),
            channels=channels,
            origin="load",
            labels=(),
        )
        for asset in range(load.assets)
    ]


if __name__ == "__main__":
    main()
