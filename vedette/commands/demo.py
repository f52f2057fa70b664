"""`vedette demo`: the whole loop on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from sensors.errors import SensorsError
from sensors.recording import Recording
from vedette.broker import BrokerError, BrokerLauncher, start_embedded, start_mosquitto
from vedette.commands.alerts import sentence
from vedette.console import errors, leave
from vedette.demo.play import DemoError, play
from vedette.demo.script import Script, own_script, pumps, recorded_script
from vedette.demo.stage import Stage, open_stage
from vedette.exitcodes import BAD_CONFIGURATION, BROKER_UNREACHABLE, FINDING

__all__ = ["command"]


class BrokerKind(enum.StrEnum):
    """Brokers that the demo can start."""

    MOSQUITTO = "mosquitto"
    EMBEDDED = "embedded"


LAUNCHERS: dict[BrokerKind, BrokerLauncher] = {
    BrokerKind.MOSQUITTO: start_mosquitto,
    BrokerKind.EMBEDDED: start_embedded,
}


def command(
    *,
    once: Annotated[bool, typer.Option("--once", help="Stop after one run.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="End with one JSON object.")] = False,
    data: Annotated[Path | None, typer.Option(help="Recordings; default: simulated pumps.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Layout of the recordings: nab, skab ...")
    ] = None,
    speed: Annotated[float | None, typer.Option(min=0.1, help="Factor to event time.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the simulated pumps.")] = 0,
    broker: Annotated[
        BrokerKind | None, typer.Option(help="Default: mosquitto where it is installed.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Folder that keeps logs and database.")] = None,
) -> None:
    """Play recordings through broker, gateway and cloud; a better model arrives on the way."""
    if preset and data is None:
        raise typer.BadParameter("expected --data with the recordings that --preset reads")
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        script = (
            recorded_script(data, preset=preset, speed=speed)
            if data
            else own_script(seed=seed, speed=speed)
        )
        launcher = LAUNCHERS[broker] if broker else None
        with (
            _folder(keep) as folder,
            open_stage(folder, script, launcher=launcher) as stage,
        ):
            encore = None if once else _encore(own=data is None, seed=seed)
            result = _play(stage, script, encore, quiet=json_)
    except SensorsError as error:
        leave(error, code=BAD_CONFIGURATION)
    except BrokerError as error:
        leave(error, code=BROKER_UNREACHABLE)
    except DemoError as error:
        leave(error, code=FINDING)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    _show(result, as_json=json_)


def _play(
    stage: Stage,
    script: Script,
    encore: AsyncIterator[Sequence[Recording]] | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    rows = sum(recording.row_count for recording in script.recordings)
    errors.print(f"broker {stage.broker.name} at {stage.broker.url}")
    errors.print(f"{len(script.recordings)} assets at {script.speed:g}x, {rows} rows")
    with Progress(console=errors, transient=True) as progress:
        task = progress.add_task("replay", total=rows)
        return asyncio.run(
            play(
                stage,
                script,
                progress=lambda done: progress.advance(task, done),
                told=lambda event: None if quiet else typer.echo(sentence(event)),
                encore=encore,
            )
        )


async def _encore(*, own: bool, seed: int) -> AsyncIterator[Sequence[Recording]]:
    """The pumps' next hours for ever; recordings of others are not played twice."""
    cycle = 0
    while True:
        cycle += 1
        if own:
            yield await asyncio.to_thread(pumps, seed=seed, cycle=cycle)
        else:
            await asyncio.Event().wait()


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise DemoError(f"--keep: expected an empty folder, got {keep} with files in it")
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="vedette-demo-") as name:
        yield Path(name)


def _show(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    alerts = result["alerts"]
    hits = sum(alert["label"] == "hit" for alert in alerts)
    scored, published = result["readings_scored"], result["readings_published"]
    before, after = result["model_before"], result["model_after"]
    typer.echo(f"scored     {scored:,} of {published:,} readings")
    typer.echo(f"alerts     {len(alerts)}: {hits} meet a labelled fault")
    typer.echo(f"model      {_named(before)}, then {_named(after)}")
    ratio = result["bytes_raw"] / max(result["bytes_up"], 1)
    typer.echo(
        f"uplink     {result['bytes_up']:,} of {result['bytes_raw']:,} bytes (1/{ratio:.0f})"
    )
    typer.echo(f"excerpts   {result['bytes_excerpts']:,} bytes for training")
    typer.echo(f"latency    {result['latency_ms']['p50']} ms from publish to alert (median)")
    typer.echo(f"memory     {result['rss_mb']} MB")


def _named(model: dict[str, Any] | None) -> str:
    return f"{model['id']} {model['version']} ({model['scored']:,})" if model else "none"
