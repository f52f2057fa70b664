"""`vedette cloud`: run the aggregator, train once, list models, show what is stored."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from sqlalchemy.exc import SQLAlchemyError

from cloud.accounts import GatewayAccount
from cloud.database import database_url, open_existing
from cloud.errors import CloudError, TrainingError
from cloud.groups import group_assets, model_id
from cloud.policy import RetrainPolicy
from cloud.registry import Registered, Registry
from cloud.service import CloudService, CloudSettings, Emit, clock_us, describe
from cloud.store import Store
from cloud.train.subpca import FleetSettings
from cloud.training import Training, fit_group, keep
from vedette.exitcodes import BAD_CONFIGURATION, BROKER_UNREACHABLE, FINDING, USAGE
from wire.errors import WireError
from wire.mqtt import (
    BrokerUnreachableError,
    ConnectionRefusedByBrokerError,
    Endpoint,
    EndpointError,
)
from wire.topics import DEFAULT_ROOT, Topics

__all__ = ["app"]

CONNECT_S = 5.0
DEFAULTS = RetrainPolicy()
FLEET = FleetSettings()

app = typer.Typer(no_args_is_help=True, help="Store, train and push: the aggregator.")

DatabaseOption = Annotated[
    str, typer.Option("--database", help="SQLite file, or a URL such as sqlite:///FILE.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
MinRowsOption = Annotated[
    int, typer.Option("--min-rows", min=64, help="Rows that make an asset ready for training.")
]
LOCAL_BROKER = "mqtt://127.0.0.1:1883"
LOCAL_DATABASE = "vedette-cloud.sqlite"


@app.command("run")
def run_command(
    *,
    broker: Annotated[
        str, typer.Option("--broker", help="mqtt://user:password@host:port, or mqtts.")
    ] = LOCAL_BROKER,
    database: DatabaseOption = LOCAL_DATABASE,
    root: Annotated[str, typer.Option("--root", help="Root of all topics.")] = DEFAULT_ROOT,
    client_id: Annotated[
        str, typer.Option("--client-id", help="Name at the broker, one a running cloud.")
    ] = "vedette-cloud",
    min_rows: MinRowsOption = DEFAULTS.min_rows,
    ready_share: Annotated[
        float,
        typer.Option("--ready-share", min=0, max=1, help="Share of assets a first training needs."),
    ] = DEFAULTS.ready_share,
    retrain_interval: Annotated[
        float, typer.Option("--retrain-interval", min=0, help="Least seconds between trainings.")
    ] = DEFAULTS.interval_s,
    json: JsonOption = False,
) -> None:
    """Take in what gateways send, retrain, and push better models; runs until Ctrl-C."""
    with reported_errors():
        settings = CloudSettings(
            endpoint=Endpoint.from_url(broker, client_id=client_id, connect_timeout_s=CONNECT_S),
            database_url=database_url(database),
            topics=Topics(root),
            policy=RetrainPolicy(
                min_rows=min_rows, interval_s=retrain_interval, ready_share=ready_share
            ),
            fleet=FleetSettings(min_rows=min(min_rows, FLEET.min_rows)),
        )
        service = CloudService(settings, emit=printer(json=json))
        asyncio.run(until_stopped(service))


@app.command("train")
def train_command(
    *,
    database: DatabaseOption = LOCAL_DATABASE,
    min_rows: MinRowsOption = FLEET.min_rows,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write the only model there as well.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train every group of assets once, offline, and make the models champions."""
    emit = printer(json=json)
    with reported_errors():
        engine = open_existing(database_url(database))
        store, registry = Store(engine), Registry(engine)
        trainings: list[Training] = []
        settings = FleetSettings(min_rows=min_rows)
        for group in group_assets(store.training_rows()):
            try:
                training = fit_group(group, store=store, registry=registry, settings=settings)
            except TrainingError as error:
                emit({"event": "not_trained", "id": model_id(group.channels), "why": str(error)})
                continue
            keep(training, registry=registry, created_us=clock_us())
            trainings.append(training)
            for fields in describe(training):
                emit({"event": "trained", **fields})
        write_only_model(trainings, out)


@app.command("models")
def models_command(*, database: DatabaseOption = LOCAL_DATABASE, json: JsonOption = False) -> None:
    """List registered models; the champions are in force."""
    emit = printer(json=json)
    with reported_errors():
        for version in Registry(open_existing(database_url(database))).versions():
            emit(listed(version))


@app.command("status")
def status_command(*, database: DatabaseOption = LOCAL_DATABASE, json: JsonOption = False) -> None:
    """Show what is stored, what is lost and why, and the gateways with their presence."""
    emit = printer(json=json)
    with reported_errors():
        engine = open_existing(database_url(database))
        store = Store(engine)
        emit({"event": "stored", **store.counts(), "models": len(Registry(engine).versions())})
        for gateway in store.gateways():
            emit({"event": "gateway", **gateway})
        for account in store.accounts():
            for line in account_lines(account):
                emit(line)


async def until_stopped(service: CloudService) -> None:
    """Run the service until SIGINT or SIGTERM."""
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(service.run(), name="cloud")
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    await asyncio.wait({running})
    if not running.cancelled():
        running.result()


def write_only_model(trainings: list[Training], out: Path | None) -> None:
    """Write the one trained model to `out`; raise TrainingError when there is not exactly one."""
    models = [model for training in trainings for model in training.models]
    if not models:
        raise TrainingError("expected assets with enough rows, got none; let gateways send more")
    if out is None:
        return
    if len(models) > 1:
        names = ", ".join(model.card.id for model in models)
        raise TrainingError(f"expected one model for --out, got {names}; leave --out away")
    out.write_bytes(models[0].data)


def listed(version: Registered) -> dict[str, Any]:
    """Return one line of the list of models."""
    return {"event": "model", **asdict(version)}


def account_lines(account: GatewayAccount) -> Iterator[dict[str, Any]]:
    """Return lines `ledger` (one a numbering), `gap` (one a reason) and `readings` of a gateway."""
    gateway = {"gateway": account.gateway}
    for ledger in account.ledgers:
        yield {"event": "ledger", **gateway, **asdict(ledger)}
    for gap in account.gaps:
        yield {"event": "gap", **gateway, **asdict(gap)}
    yield {
        "event": "readings",
        **gateway,
        "in_summaries": account.readings_in_summaries,
        "missing": account.missing_in_summaries,
        "in_gaps": account.readings_in_gaps,
    }


def printer(*, json: bool) -> Emit:
    """Return what prints events on stdout: JSON lines, or `event: key=value ...`."""
    return print_json if json else print_text


def print_json(event: Mapping[str, Any]) -> None:
    """Print one event as one line of JSON."""
    typer.echo(msgspec.json.encode(dict(event)))


def print_text(event: Mapping[str, Any]) -> None:
    """Print one event for people."""
    fields = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
    typer.echo(f"{event['event']}: {fields}")


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn expected errors into one line on stderr and an exit code."""
    code = 0
    try:
        yield
    except* (BrokerUnreachableError, ConnectionRefusedByBrokerError) as group:
        code = told(group, BROKER_UNREACHABLE)
    except* EndpointError as group:
        code = told(group, USAGE)
    except* TrainingError as group:
        code = told(group, FINDING)
    except* (CloudError, WireError, SQLAlchemyError, OSError) as group:
        code = told(group, BAD_CONFIGURATION)
    if code:
        raise typer.Exit(code)


def told(group: BaseExceptionGroup[Exception], code: int) -> int:
    """Write each error of a group to stderr and return `code`."""
    for error in group.exceptions:
        sys.stderr.write(f"vedette cloud: {error}\n")
    return code
