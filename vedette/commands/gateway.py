"""`vedette gateway`: run it, check its configuration, see how it does."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import aiomqtt
import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gateway.config import BrokerSection, Config, choose_config, read_password
from gateway.errors import ConfigError
from vedette.client import open_client
from vedette.console import leave
from vedette.exitcodes import BAD_CONFIGURATION, BROKER_UNREACHABLE, FINDING
from wire.codec import decode_json
from wire.errors import MessageError
from wire.messages import GatewayStatus

__all__ = ["app"]

STATUS_WAIT_S = 5.0

app = typer.Typer(no_args_is_help=True, help="Run, check and watch a gateway.")

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file; default: built-in settings.")
]
IdOption = Annotated[
    str | None, typer.Option("--id", help="Name in topics; default: that of the file.")
]
BrokerOption = Annotated[
    str | None, typer.Option("--broker", help="mqtt://host:port; default: that of the file.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def run(*, config: ConfigOption = None, id_: IdOption = None, broker: BrokerOption = None) -> None:
    """Run until Ctrl-C or SIGTERM. The process becomes `python -m gateway`, which is lighter."""
    options = {"--config": config, "--id": id_, "--broker": broker}
    given = [word for name, value in options.items() if value for word in (name, str(value))]
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "gateway", *given])  # noqa: S606 - ourselves


@app.command()
def check(
    *,
    config: ConfigOption = None,
    id_: IdOption = None,
    broker: BrokerOption = None,
    json_: JsonOption = False,
) -> None:
    """Read the configuration and say what is in force; exit code 3 when it cannot be used."""
    settings = msgspec.to_builtins(_load(config, id_, broker))
    if json_:
        typer.echo(json.dumps(settings))
        return
    for section, values in settings.items():
        typer.echo(f"{section}: {json.dumps(values)}")


@app.command()
def status(
    *,
    config: ConfigOption = None,
    id_: IdOption = None,
    broker: BrokerOption = None,
    json_: JsonOption = False,
) -> None:
    """Show presence, ledger and models; exit code 1 when the gateway is not online."""
    settings = _load(config, id_, broker)
    try:
        found = asyncio.run(_fetch(settings, folder=config.parent if config else Path.cwd()))
    except aiomqtt.MqttError as error:
        url = settings.site.url
        leave(f"broker {url}: {error}. Is it running? See --config.", code=BROKER_UNREACHABLE)
    except ConfigError as error:
        leave(error, code=BAD_CONFIGURATION)
    except OSError as error:
        leave(f"expected the files that [site] names, got {error}", code=BAD_CONFIGURATION)
    except MessageError as error:
        leave(f"{settings.gateway.id}: its retained status cannot be read: {error}", code=FINDING)
    if found is None:
        name = settings.gateway.id
        leave(f"{name}: expected a retained status, got none. Has it run?", code=FINDING)
    if json_:
        typer.echo(msgspec.json.encode(found).decode())
    else:
        _show(found)
    raise typer.Exit(0 if found.presence == "online" else FINDING)


def _load(path: Path | None, gateway: str | None, broker: str | None) -> Config:
    try:
        return choose_config(path, gateway=gateway, broker=broker)
    except ConfigError as error:
        leave(error, code=BAD_CONFIGURATION)


async def _fetch(config: Config, *, folder: Path) -> GatewayStatus | None:
    topic = config.topics.gateway(config.gateway.id, "status")
    async with _client(config.site, folder) as client:
        await client.subscribe(topic, qos=1)
        try:
            async with asyncio.timeout(STATUS_WAIT_S):
                message = await anext(aiter(client.messages))
        except TimeoutError:
            return None
    return decode_json(bytes(message.payload), GatewayStatus)


def _client(site: BrokerSection, folder: Path) -> aiomqtt.Client:
    files = (site.ca_file, site.cert_file, site.key_file)
    authority, certificate, key = (str(folder / file) if file else None for file in files)
    return open_client(
        site.url,
        username=site.username,
        password=read_password(site, folder=folder),
        certificates=aiomqtt.TLSParameters(ca_certs=authority, certfile=certificate, keyfile=key),
    )


def _show(found: GatewayStatus) -> None:
    console = Console(markup=False)
    console.print(f"{found.gateway} is {found.presence}, version {found.version}")
    console.print(f"{found.assets} assets, {found.streams} streams, {found.rss_mb} MB")
    for title, counts in _ledgers(found).items():
        console.print(f"{title}: " + ", ".join(f"{name} {n:,}" for name, n in counts.items()))
    if found.outbox.get("count"):
        room = "" if found.room_h is None else f", room for {found.room_h:,g} h more"
        console.print(f"waiting for the cloud since {found.pending_age_s:,.0f} s{room}")
    for fault in found.faults:
        console.print(f"fault: {fault}")
    if found.last_rejection:
        console.print(f"last rejection: {found.last_rejection}")
    table = Table("model", "version", "role", "assets", "scored")
    for model in found.models:
        cells = (model.version, model.role, model.assets, f"{model.scored:,}")
        table.add_row(model.id, *(str(cell) for cell in cells))
    console.print(table)
    for reason in found.refused_models:
        console.print(f"refused model: {reason}")


def _ledgers(found: GatewayStatus) -> dict[str, dict[str, Any]]:
    ledgers = {
        "readings": found.readings,
        "messages": found.messages,
        "rejected": found.rejected,
        "ledger": found.ledger,
        "gaps": found.gaps,
        "outbox": found.outbox,
        "storage": found.storage,
        "bytes up": found.bytes_up,
    }
    return {title: counts for title, counts in ledgers.items() if counts}
