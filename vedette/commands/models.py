"""`vedette models`: look into model files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gateway.errors import ModelRefusedError
from gateway.models.shelf import load_blocking
from gateway.pipeline import PipelineSettings
from gateway.score.scorer import Scorer
from vedette.console import leave
from vedette.exitcodes import MODEL_REFUSED

__all__ = ["app"]


app = typer.Typer(no_args_is_help=True, help="List and verify model files.")
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@app.command()
def verify(
    *, file: Annotated[Path, typer.Argument(help="ONNX file.")], json_: JsonOption = False
) -> None:
    """Check a file as a gateway does before it serves; exit code 5 when it would be refused."""
    try:
        facts = _facts(_load(file))
    except (ModelRefusedError, OSError) as error:
        leave(error, code=MODEL_REFUSED)
    typer.echo(json.dumps(facts) if json_ else "  ".join(f"{k}={v}" for k, v in facts.items()))


@app.command(name="list")
def list_models(
    *,
    folder: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder of ONNX files.")
    ],
    json_: JsonOption = False,
) -> None:
    """List a folder's models; the reason stands beside each that would be refused."""
    table = Table("file", "model", "version", "window", "channels", "assets", "note")
    for path in sorted(folder.glob("*.onnx")):
        try:
            facts = {"file": path.name, **_facts(_load(path)), "note": "ok"}
        except (ModelRefusedError, OSError) as error:
            facts = {"file": path.name, "note": str(error)}
        if json_:
            typer.echo(json.dumps(facts))
        names = ("file", "id", "version", "window", "channels", "assets", "note")
        table.add_row(*(str(facts.get(name, "")) for name in names))
    if not json_:
        Console(markup=False).print(table)


def _load(path: Path) -> Scorer:
    return load_blocking(path.read_bytes(), name=path.name, most_rows=PipelineSettings().most_rows)


def _facts(scorer: Scorer) -> dict[str, str | int]:
    card = scorer.card
    return {
        "id": card.id,
        "version": card.version,
        "sha256": scorer.file.sha256,
        "bytes": len(scorer.file.data),
        "window": card.window,
        "channels": ",".join(channel.name for channel in card.channels),
        "assets": "any" if card.any_asset else len(card.assets),
    }
