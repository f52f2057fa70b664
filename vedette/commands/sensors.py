"""`vedette sensors`: publish recordings, simulated machines and this host; record topics."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from sensors.catalogue import PRESETS, distinct, open_recordings
from sensors.client import Protocol
from sensors.errors import BrokerUnreachableError, PublishError, SensorsError, SimulationError
from sensors.host import Host, keep_host, publish_host
from sensors.kept import DEFAULT_LIMIT_MB, KeptReadings
from sensors.keptpublisher import KeptPublisher
from sensors.keptreplay import replay_kept
from sensors.keptsource import new_epoch
from sensors.pacing import SpeedError, parse_speed
from sensors.publisher import Publisher
from sensors.recorded import read_messages
from sensors.recorder import Recorder, RecordingFile, lasting_client_id
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
DurableOption = Annotated[
    bool, typer.Option("--durable/--no-durable", help="Keep rows until a gateway stored them.")
]
KeepOption = Annotated[
    Path | None,
    typer.Option("--keep", help="File for rows to keep; default: in ~/.local/state/vedette."),
]
KeepMbOption = Annotated[
    float, typer.Option("--keep-mb", min=0.01, help="Most megabytes (10^6 bytes) kept.")
]
GatewayOption = Annotated[
    str | None,
    typer.Option("--gateway", help="Listen to this gateway; default: the first that answers."),
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
    durable: DurableOption = False,
    keep: KeepOption = None,
    keep_mb: KeepMbOption = DEFAULT_LIMIT_MB,
    gateway: GatewayOption = None,
    json: JsonOption = False,
) -> None:
    """Publish recordings side by side, each from its own start."""
    with reported_errors():
        factor = parse_speed(speed)
        route = Route(broker, root, protocol, window, rows_per_message)
        if verbatim and durable:
            raise typer.BadParameter("expected --durable or --verbatim, got both; leave one out")
        if verbatim:
            report(publish_verbatim(paths, route=route, speed=factor), json=json)
            return
        opened = [open_recordings(path, preset=preset, mapping=mapping) for path in paths]
        recordings = distinct([recording for group in opened for recording in group])
        if durable:
            keeping = Keeping(keep or default_keep("replay"), keep_mb, gateway)
            keep_recordings(
                recordings,
                route=route,
                keeping=keeping,
                speed=factor,
                done=lambda counts: report(counts, json=json),
            )
        else:
            report(publish_recordings(recordings, route=route, speed=factor), json=json)


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
    durable: DurableOption = False,
    keep: KeepOption = None,
    keep_mb: KeepMbOption = DEFAULT_LIMIT_MB,
    gateway: GatewayOption = None,
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
        route = Route(broker, root, protocol, window, rows_per_message)
        if durable:
            keeping = Keeping(keep or default_keep("simulate"), keep_mb, gateway)
            keep_recordings(
                [recording],
                route=route,
                keeping=keeping,
                speed=factor,
                done=lambda counts: report(counts | {"labels": labels}, json=json),
            )
        else:
            counts = publish_recordings([recording], route=route, speed=factor)
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
    durable: Annotated[
        bool,
        typer.Option(
            "--durable/--no-durable",
            help="Acknowledge what is on the disk, and get what came since a crash.",
        ),
    ] = True,
    json: JsonOption = False,
) -> None:
    """Append every message of a topic filter to a file that `replay` reads; Ctrl-C ends it."""
    with reported_errors():
        topic_filter = topic or Topics(root).all_readings()
        client_id = lasting_client_id(out, topic_filter=topic_filter) if durable else None
        with (
            closing(RecordingFile(out, synced=durable)) as file,
            Recorder(broker, topic_filter=topic_filter, file=file, client_id=client_id) as recorder,
        ):
            with suppress(KeyboardInterrupt):
                errors.print(f"recording {topic_filter} to {out}; Ctrl-C ends")
                while count is None or file.messages < count:
                    recorder.serve(0.5)
            recorder.forget()
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
    durable: DurableOption = True,
    keep: KeepOption = None,
    keep_mb: KeepMbOption = DEFAULT_LIMIT_MB,
    gateway: GatewayOption = None,
    json: JsonOption = False,
) -> None:
    """Publish this machine's own sensors; Ctrl-C ends it."""
    with reported_errors():
        period_s = parse_duration_s(period)
        name = source or safe_name(socket.gethostname())
        route = Route(broker, root, protocol)
        if durable:
            keeping = Keeping(keep or default_keep(f"host-{name}"), keep_mb, gateway)
            counts = keep_this_host(
                name, route=route, keeping=keeping, period_s=period_s, rows=count
            )
        else:
            counts = publish_this_host(name, route=route, period_s=period_s, rows=count)
        report(counts, json=json)


@dataclass(frozen=True, slots=True)
class Route:
    """Where and how rows are published."""

    broker: str
    root: str
    protocol: Protocol
    window: int = 1000
    rows_per_message: int = 1

    def publisher(self) -> Publisher:
        """Return a publisher that keeps nothing."""
        return Publisher(self.broker, protocol=self.protocol, window=self.window)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where rows are kept and who confirms them."""

    file: Path
    limit_mb: float
    gateway: str | None

    def open(self) -> KeptReadings:
        """Open the file; damage is told on stderr."""
        return KeptReadings(self.file, limit_mb=self.limit_mb, warn=warn)

    def publisher(
        self, kept: KeptReadings, *, route: Route, sources: list[str], commit_rows: int = 500
    ) -> KeptPublisher:
        """Return a publisher of what the file keeps; its changes are told on stderr."""
        return KeptPublisher(
            route.broker,
            kept=kept,
            topics=Topics(route.root),
            sources=sources,
            protocol=route.protocol,
            window=route.window,
            rows_per_message=route.rows_per_message,
            commit_rows=commit_rows,
            gateway=self.gateway,
            warn=warn,
        )


def warn(text: str) -> None:
    """Tell people on stderr."""
    errors.print(text, soft_wrap=True)


def default_keep(name: str) -> Path:
    """Return the file that keeps rows unless --keep says otherwise; raise KeepPathError."""
    given = os.environ.get("XDG_STATE_HOME")
    try:
        folder = Path(given) if given else Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise KeepPathError("expected a home folder, got none; give --keep FILE") from error
    return folder / "vedette" / f"{name}.sqlite"


class KeepPathError(SensorsError):
    """No place for the file of kept rows."""


def publish_verbatim(paths: list[Path], *, route: Route, speed: float) -> dict[str, Any]:
    """Publish recorded messages under their own topics and return what to report."""
    with route.publisher() as publisher:
        for path in paths:
            replay_messages(read_messages(path), publisher=publisher, speed=speed)
    return published(publisher)


def publish_recordings(
    recordings: list[Recording], *, route: Route, speed: float
) -> dict[str, Any]:
    """Publish the recordings under a progress bar and return what to report."""
    total = sum(recording.row_count for recording in recordings)
    with route.publisher() as publisher, progress_bar() as progress:
        task = progress.add_task("rows", total=total)
        counts = replay(
            recordings,
            publisher=publisher,
            topics=Topics(route.root),
            epoch=new_epoch(),
            speed=speed,
            rows_per_message=route.rows_per_message,
            progress=lambda done: progress.advance(task, done),
        )
    return {"assets": [recording.asset for recording in recordings]} | asdict(counts)


def keep_recordings(
    recordings: list[Recording],
    *,
    route: Route,
    keeping: Keeping,
    speed: float,
    done: Callable[[dict[str, Any]], None],
) -> None:
    """Publish the recordings, kept until confirmed, hand what to report to `done`, and note it.

    Noted last: a process that was killed before goes on with the same numbers when started again.
    """
    assets = [recording.asset for recording in recordings]
    with keeping.open() as kept:
        taken = sum(kept.begin(asset).taken for asset in assets)
        total = sum(recording.row_count for recording in recordings) - taken
        with (
            keeping.publisher(kept, route=route, sources=assets) as publisher,
            progress_bar() as progress,
        ):
            task = progress.add_task("rows", total=total)
            counts = replay_kept(
                recordings,
                publisher=publisher,
                kept=kept,
                speed=speed,
                progress=lambda done: progress.advance(task, done),
            )
        done({"assets": assets} | asdict(counts) | kept_counts(kept))
        kept.end(assets)


def keep_this_host(
    source: str, *, route: Route, keeping: Keeping, period_s: float, rows: int | None
) -> dict[str, Any]:
    """Keep and publish this host's rows until interrupted, and return what to report."""
    with (
        keeping.open() as kept,
        keeping.publisher(kept, route=route, sources=[source], commit_rows=1) as publisher,
    ):
        with suppress(KeyboardInterrupt):
            keep_host(Host(), publisher=publisher, source=source, period_s=period_s, rows=rows)
        return published(publisher) | kept_counts(kept)


def publish_this_host(
    source: str, *, route: Route, period_s: float, rows: int | None
) -> dict[str, Any]:
    """Publish this host's rows until interrupted, and return what to report."""
    topic = Topics(route.root).readings(source)
    with route.publisher() as publisher, suppress(KeyboardInterrupt):
        publish_host(
            Host(), publisher=publisher, topic=topic, epoch=new_epoch(), period_s=period_s,
            rows=rows,
        )  # fmt: skip
    return published(publisher)


def kept_counts(kept: KeptReadings) -> dict[str, Any]:
    """Return what to report of a file: rows that wait, and rows given up since it was made."""
    states = kept.sources.values()
    return {
        "waiting": kept.rows,
        "dropped": sum(state.dropped for state in states),
        "damaged": sum(state.damaged for state in states),
    }


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


def published(publisher: Publisher | KeptPublisher) -> dict[str, Any]:
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
