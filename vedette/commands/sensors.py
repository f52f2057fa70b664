"""`vedette sensors`: publish recordings, simulated machines and this host; record topics."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from sensors.catalogue import PRESETS, distinct, open_recordings
from sensors.errors import BrokerUnreachableError, PublishError, SensorsError, SimulationError
from sensors.host import Host, publish_host
from sensors.pacing import SpeedError, parse_speed
from sensors.publisher import Protocol, Publisher
from sensors.recorded import read_messages
from sensors.recorder import Recorder, RecordingFile
from sensors.recording import Recording
from sensors.replay import replay, replay_messages
from sensors.simulate.faults import FaultKind, parse_duration_s, parse_fault
from sensors.simulate.simulation import RIGS, simulate
from sensors.writing import write_recording
from vedette.console import errors, leave
from vedette.exitcodes import BAD_CONFIGURATION, BROKER_UNREACHABLE, USAGE
from wire.errors import WireError
from wire.topics import DEFAULT_ROOT, Topics, safe_name

__all__ = ["app"]


app = typer.Typer(no_args_is_help=True, help="Publish, simulate and record sensor readings.")

BrokerOption = Annotated[
    str, typer.Option("--broker", help="mqtt://user:password@host:port, or mqtts.")
]
RootOption = Annotated[str, typer.Option("--root", help="Root of all topics.")]
SpeedOption = Annotated[str, typer.Option("--speed", help="1x, 100x ... of event time, or max.")]
ProtocolOption = Annotated[Protocol, typer.Option("--protocol", help="MQTT version.")]
WindowOption = Annotated[
    int, typer.Option("--window", min=1, max=65_535, help="Most unacknowledged publishes.")
]
RowsOption = Annotated[
    int, typer.Option("--rows-per-message", min=1, max=1000, help="Rows in one JSON array.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
LOCAL_BROKER = "mqtt://127.0.0.1:1883"


@app.command("replay")
def replay_command(
    *,
    paths: Annotated[list[Path], typer.Argument(help="Recordings, or folders of them.")],
    preset: Annotated[
        str | None, typer.Option("--preset", help=f"How to read them: {', '.join(PRESETS)}.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", help="TOML that maps their columns.")
    ] = None,
    verbatim: Annotated[
        bool,
        typer.Option("--verbatim", help="Publish what `record` wrote under its own topics."),
    ] = False,
    speed: SpeedOption = "1x",
    broker: BrokerOption = LOCAL_BROKER,
    root: RootOption = DEFAULT_ROOT,
    protocol: ProtocolOption = "5",
    window: WindowOption = 1000,
    rows_per_message: RowsOption = 1,
    json: JsonOption = False,
) -> None:
    """Publish recordings side by side, each from its own start."""
    with reported_errors():
        factor = parse_speed(speed)
        if verbatim:
            with Publisher(broker, protocol=protocol, window=window) as publisher:
                for path in paths:
                    replay_messages(read_messages(path), publisher=publisher, speed=factor)
            report(published(publisher), json=json)
            return
        opened = [open_recordings(path, preset=preset, mapping=mapping) for path in paths]
        recordings = distinct([recording for group in opened for recording in group])
        with Publisher(broker, protocol=protocol, window=window) as publisher:
            counts = publish_recordings(
                recordings, publisher=publisher, root=root, speed=factor, rows=rows_per_message
            )
        report(counts, json=json)


@app.command("simulate")
def simulate_command(
    *,
    rig: Annotated[str, typer.Option("--rig", help=f"{' or '.join(RIGS)}.")] = "pump",
    hours: Annotated[float, typer.Option("--hours", min=0.0, help="Length of the run.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same bytes.")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            help=f"KIND[:CHANNEL]@START[+LASTING], repeatable; KIND: {', '.join(FaultKind)}.",
        ),
    ] = None,
    period: Annotated[str, typer.Option("--period", help="Between rows, such as 1s.")] = "1s",
    asset: Annotated[str | None, typer.Option("--asset", help="Name in topics.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write .csv, .jsonl or .parquet instead of publishing."),
    ] = None,
    speed: SpeedOption = "1x",
    broker: BrokerOption = LOCAL_BROKER,
    root: RootOption = DEFAULT_ROOT,
    protocol: ProtocolOption = "5",
    window: WindowOption = 1000,
    rows_per_message: RowsOption = 1,
    json: JsonOption = False,
) -> None:
    """Run a simulated machine with labelled faults; publish or write its readings."""
    with reported_errors():
        recording = simulate(
            rig,
            duration_s=hours * 3600,
            seed=seed,
            faults=[parse_fault(text) for text in fault or []],
            period_s=parse_duration_s(period),
            asset=asset,
        )
        labels = [asdict(label) for label in recording.labels]
        if out is not None:
            rows = write_recording(recording, path=out)
            report({"file": str(out), "rows": rows, "labels": labels}, json=json)
            return
        factor = parse_speed(speed)
        with Publisher(broker, protocol=protocol, window=window) as publisher:
            counts = publish_recordings(
                [recording], publisher=publisher, root=root, speed=factor, rows=rows_per_message
            )
        report(counts | {"labels": labels}, json=json)


@app.command("record")
def record_command(
    *,
    out: Annotated[Path, typer.Argument(help="JSON-lines file to append to.")],
    topic: Annotated[
        str | None, typer.Option("--topic", help="Topic filter; default: all readings.")
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after this many messages.")
    ] = None,
    broker: BrokerOption = LOCAL_BROKER,
    root: RootOption = DEFAULT_ROOT,
    json: JsonOption = False,
) -> None:
    """Append every message of a topic filter to a file that `replay` reads; Ctrl-C ends it."""
    with reported_errors():
        topic_filter = topic or Topics(root).all_readings()
        file = RecordingFile(out)
        try:
            with (
                Recorder(broker, topic_filter=topic_filter, file=file) as recorder,
                suppress(KeyboardInterrupt),
            ):
                errors.print(f"recording {topic_filter} to {out}; Ctrl-C ends")
                while count is None or file.messages < count:
                    recorder.serve(0.5)
        finally:
            file.close()
        report({"file": str(out), "messages": file.messages}, json=json)


@app.command("host")
def host_command(
    *,
    period: Annotated[str, typer.Option("--period", help="Between rows, such as 1s.")] = "1s",
    count: Annotated[
        int | None, typer.Option("--count", min=1, help="End after this many rows.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help="Default: the host's name.")
    ] = None,
    broker: BrokerOption = LOCAL_BROKER,
    root: RootOption = DEFAULT_ROOT,
    protocol: ProtocolOption = "5",
    json: JsonOption = False,
) -> None:
    """Publish this machine's own sensors; Ctrl-C ends it."""
    with reported_errors():
        period_s = parse_duration_s(period)
        topic = Topics(root).readings(source or safe_name(socket.gethostname()))
        with Publisher(broker, protocol=protocol) as publisher, suppress(KeyboardInterrupt):
            publish_host(
                Host(),
                publisher=publisher,
                topic=topic,
                epoch=new_epoch(),
                period_s=period_s,
                rows=count,
            )
        report(published(publisher), json=json)


def publish_recordings(
    recordings: list[Recording], *, publisher: Publisher, root: str, speed: float, rows: int
) -> dict[str, Any]:
    """Publish the recordings under a progress bar and return what to report."""
    total = sum(recording.row_count for recording in recordings)
    with progress_bar() as progress:
        task = progress.add_task("rows", total=total)
        counts = replay(
            recordings,
            publisher=publisher,
            topics=Topics(root),
            epoch=new_epoch(),
            speed=speed,
            rows_per_message=rows,
            progress=lambda done: progress.advance(task, done),
        )
    return {"assets": [recording.asset for recording in recordings]} | asdict(counts)


def progress_bar() -> Progress:
    """Return a progress bar on stderr."""
    return Progress(
        "{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )


def new_epoch() -> str:
    """Return a name for a numbering that starts now."""
    return secrets.token_hex(4)


def published(publisher: Publisher) -> dict[str, Any]:
    """Return what to report of a publisher."""
    return {"messages": publisher.messages, "payload_bytes": publisher.payload_bytes}


def report(result: dict[str, Any], *, json: bool) -> None:
    """Print the result: as JSON, or as words."""
    if json:
        typer.echo(msgspec.json.encode(result).decode())
        return
    typer.echo(", ".join(f"{name} {shown(value)}" for name, value in result.items()))


def shown(value: object) -> str:
    """Return the value as words: lists by their length."""
    if isinstance(value, list):
        return str(len(value))
    return f"{value:.2f}" if isinstance(value, float) else str(value)


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn the package's errors into a message on stderr and the documented exit code."""
    try:
        yield
    except (SensorsError, WireError) as error:
        leave(f"error: {error}", code=exit_code(error))


def exit_code(error: Exception) -> int:
    """Return the documented exit code."""
    match error:
        case BrokerUnreachableError():
            return BROKER_UNREACHABLE
        case SpeedError() | SimulationError():
            return USAGE
        case PublishError():
            return 1
        case SensorsError():
            return BAD_CONFIGURATION
        case _:
            return USAGE
