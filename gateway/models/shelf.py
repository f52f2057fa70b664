"""The models that serve: the bundled one, those of the folder, and those of the cloud."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from gateway.errors import ModelFailedError, ModelRefusedError
from gateway.score.scorer import Scorer
from wire.contract import ModelFile, read_model
from wire.errors import ContractError

__all__ = [
    "BUNDLED",
    "Shelf",
    "keep_blocking",
    "load_blocking",
    "load_folder_blocking",
    "open_shelf_blocking",
]

BUNDLED = Path(__file__).parent.parent / "bundled" / "robust.onnx"


@dataclass(slots=True)
class Shelf:
    """At most one version of each model; the last per-stream model by name serves as fallback."""

    bundled: Scorer
    scorers: dict[str, Scorer] = field(default_factory=dict)
    """By model name."""
    refused: list[str] = field(default_factory=list)
    """Newest refusals, in words; at most 8."""

    def place(self, scorer: Scorer) -> None:
        """Let a model serve in place of its older version."""
        self.scorers[scorer.card.id] = scorer

    def refuse(self, error: ModelRefusedError) -> None:
        """Note why a model does not serve."""
        self.refused = [*self.refused, str(error)[:300]][-8:]

    def withdraw(self, error: ModelFailedError) -> None:
        """Take a model out that failed in service, and note why; its file stays in the folder."""
        self.scorers = {id_: one for id_, one in self.scorers.items() if one.name != error.name}
        self.refuse(error)

    def line_up(self) -> list[Scorer]:
        """Scorers in slot order: the per-stream fallback, then per-asset models by name."""
        ordered = [self.scorers[name] for name in sorted(self.scorers)]
        fallback = [scorer for scorer in ordered if scorer.card.per_stream]
        return [
            (fallback or [self.bundled])[-1],
            *(scorer for scorer in ordered if not scorer.card.per_stream),
        ]


def open_shelf_blocking(folder: Path | None, *, most_rows: int) -> Shelf:
    """Make a shelf with the bundled model and those of the folder; `refused` says which are not."""
    shelf = Shelf(load_blocking(BUNDLED.read_bytes(), name="bundled", most_rows=most_rows))
    if folder is not None:
        load_folder_blocking(shelf, folder, most_rows=most_rows)
    return shelf


def load_blocking(data: bytes, *, name: str, most_rows: int) -> Scorer:
    """Check and load a model; raise ModelRefusedError. Takes up to a second: run in a thread."""
    try:
        file = read_model(data)
    except ContractError as error:
        raise ModelRefusedError(name, error.reason, error.detail) from None
    if file.card.window > most_rows:
        detail = f"expected at most summaries.most_rows = {most_rows}, got {file.card.window}"
        raise ModelRefusedError(name, "window", detail)
    if file.card.per_stream and not file.card.any_asset:
        got = f"{len(file.card.assets)} names"
        detail = f"expected '*' as the only asset of a model for every stream, got {got}"
        raise ModelRefusedError(name, "assets", detail)
    return Scorer.load(file)


def load_folder_blocking(shelf: Shelf, folder: Path, *, most_rows: int) -> None:
    """Place every usable `*.onnx` of the folder, newest version of each; note the others."""
    for path in sorted(folder.glob("*.onnx")):
        try:
            scorer = load_blocking(path.read_bytes(), name=path.name, most_rows=most_rows)
        except OSError as error:
            shelf.refuse(ModelRefusedError(path.name, "unreadable", str(error)))
        except ModelRefusedError as error:
            shelf.refuse(error)
        else:
            known = shelf.scorers.get(scorer.card.id)
            if known is None or known.card.version < scorer.card.version:
                shelf.place(scorer)


def keep_blocking(file: ModelFile, folder: Path) -> None:
    """Write the file into the folder so that it serves after a restart too, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{file.card.id}.onnx"
    draft = target.with_suffix(".part")
    with draft.open("wb") as out:
        out.write(file.data)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(target)
