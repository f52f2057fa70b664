"""`vedette alerts`: print alerts as they come."""

from __future__ import annotations

import asyncio
import enum
from typing import Annotated

import aiomqtt
import msgspec
import typer

from vedette.console import leave
from vedette.exitcodes import BROKER_UNREACHABLE, USAGE
from vedette.subscribe import SubscriptionRefusedError, subscribe
from wire.errors import WireError
from wire.messages import AlertEvent
from wire.topics import DEFAULT_ROOT

__all__ = ["command", "sentence"]


class Severity(enum.StrEnum):
    """Least severity to print."""

    WARNING = "warning"
    CRITICAL = "critical"


def command(
    *,
    broker: Annotated[str, typer.Option(help="mqtt://host:port")] = "mqtt://127.0.0.1:1883",
    root: Annotated[str, typer.Option(help="Root of all topics.")] = DEFAULT_ROOT,
    asset: Annotated[str | None, typer.Option(help="Only this asset.")] = None,
    severity: Annotated[Severity, typer.Option(help="Least severity.")] = Severity.WARNING,
    count: Annotated[int, typer.Option(help="Stop after so many; 0 = never.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print alerts until Ctrl-C."""
    stream = subscribe(broker, asset=asset, severity=severity.value, root=root)
    show = (lambda event: msgspec.json.encode(event).decode()) if json_ else sentence

    async def print_alerts() -> None:
        seen = 0
        async for event in stream:
            typer.echo(show(event))
            seen += 1
            if seen == count:
                return

    try:
        asyncio.run(print_alerts())
    except aiomqtt.MqttError as error:
        leave(f"broker {broker}: {error}. Is it running?", code=BROKER_UNREACHABLE)
    except SubscriptionRefusedError as error:
        leave(error, code=BROKER_UNREACHABLE)
    except WireError as error:
        leave(error, code=USAGE)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def sentence(event: AlertEvent) -> str:
    """One line for people."""
    alert = event.data
    model = f"{alert.model.id} {alert.model.version}"
    return (
        f"{event.time} {alert.severity:8} {alert.state:7} {alert.text} (p {alert.p:.1g}, {model})"
    )
