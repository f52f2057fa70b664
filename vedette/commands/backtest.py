"""`vedette backtest`: score recordings without a broker, through the gateway's pipeline."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from gateway.errors import ModelRefusedError
from sensors.catalogue import open_recordings
from sensors.errors import SensorsError
from sensors.recording import Recording
from vedette.backtest import Backtest, backtest, open_pipeline
from vedette.commands.alerts import sentence
from vedette.console import errors, leave
from vedette.exitcodes import BAD_CONFIGURATION, MODEL_REFUSED
from vedette.labels import judge

__all__ = ["command"]


def command(
    *,
    path: Annotated[Path, typer.Argument(help="Recording, or folder of them.")],
    preset: Annotated[
        str | None, typer.Option(help="nab, skab, smap, lro, femto or cmapss.")
    ] = None,
    mapping: Annotated[Path | None, typer.Option(help="TOML that maps columns.")] = None,
    models: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of ONNX models.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Score every reading and print the alerts; recorded labels tell hits from false alarms."""
    started = time.perf_counter()
    try:
        recordings = open_recordings(path, preset=preset, mapping=mapping)
        result = _run(recordings, models)
    except SensorsError as error:
        leave(error, code=BAD_CONFIGURATION)
    except ModelRefusedError as error:
        leave(error, code=MODEL_REFUSED)
    facts = _facts(recordings, result, time.perf_counter() - started)
    if json_:
        typer.echo(json.dumps(facts))
        return
    for event in result.alerts:
        typer.echo(sentence(event))
    typer.echo("  ".join(f"{name} {value}" for name, value in facts.items() if name != "alerts"))


def _run(recordings: list[Recording], models: Path | None) -> Backtest:
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task("rows", total=None)
        return backtest(
            recordings,
            open_pipeline("backtest", models),
            progress=lambda rows: progress.advance(task, rows),
        )


def _facts(recordings: list[Recording], result: Backtest, elapsed_s: float) -> dict[str, object]:
    alerts = judge(result.alerts, recordings)
    return {
        "recordings": len(recordings),
        "rows": result.rows,
        "readings": result.readings,
        "readings_scored": result.readings_scored,
        "hits": sum(alert["label"] == "hit" for alert in alerts),
        "misses": sum(alert["label"] == "miss" for alert in alerts),
        "models": result.models,
        "elapsed_s": round(elapsed_s, 3),
        "pipeline_cpu_s": round(result.pipeline_cpu_s, 3),
        "readings_per_s": round(result.readings / max(result.pipeline_cpu_s, 1e-9)),
        "alerts": alerts,
    }
