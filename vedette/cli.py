"""The command `vedette`: one group a module, imported only when it is asked for."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import typer

__all__ = ["build", "main"]

SUMMARY = "Runs anomaly models next to your machines; sends alerts and summaries, not raw data."

GROUPS = {
    "demo": "The whole loop on this machine: broker, sensors, gateway, cloud.",
    "gateway": "Run, check and watch a gateway.",
    "sensors": "Publish, simulate and record sensor readings.",
    "cloud": "Run the aggregator, train and push models.",
    "models": "List and verify model files.",
    "alerts": "Print alerts as they come.",
    "backtest": "Score recordings without a broker, through the gateway's pipeline.",
}


def build(chosen: str | None) -> typer.Typer:
    """Build the command line with the `chosen` group in full, of the others only the help."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=SUMMARY)
    for name, text in GROUPS.items():
        if name == chosen:
            _add(app, name, importlib.import_module(f"vedette.commands.{name}"))
        else:
            app.command(name, help=text)(_nothing)
    app.callback()(_nothing)
    return app


def _add(app: typer.Typer, name: str, module: ModuleType) -> None:
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(module.command)


def main() -> None:
    """Run the command line."""
    build(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="vedette")


def _nothing() -> None:
    return
