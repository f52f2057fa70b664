"""Writes a Sub-PCA fleet as one ONNX graph: every asset's tables inside, gathered by `asset`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.train.draft import GraphDraft
from cloud.train.subspace import CLIP

__all__ = ["FleetTables", "export_fleet", "row_weights"]


@dataclass(frozen=True, slots=True, eq=False)
class FleetTables:
    """Float32 tables of a fleet, first dimension = asset."""

    centre: NDArray[np.float32]
    """[assets, channels], channels' units."""
    inverse: NDArray[np.float32]
    """[assets, channels], 1 / scale."""
    basis: NDArray[np.float32]
    """[assets, k, window * channels]."""
    shrink: NDArray[np.float32]
    """[assets, k], 0..1."""
    unit: NDArray[np.float32]
    """[assets], 1 / the asset's usual raw score."""
    window: int

    @property
    def size_bytes(self) -> int:
        """Bytes of all tables together."""
        tables = (self.centre, self.inverse, self.basis, self.shrink, self.unit)
        return sum(table.nbytes for table in tables)


def row_weights(window: int) -> NDArray[np.float32]:
    """Weights of a window's rows in `score_ch`: halved from row to row back, sum 1."""
    weights = 0.5 ** np.arange(window - 1, -1, -1.0)
    return np.asarray(weights / weights.sum(), np.float32)


def export_fleet(tables: FleetTables) -> bytes:
    """Return the ONNX file without a card: inputs x, asset; outputs score, score_ch."""
    draft = GraphDraft("subpca-fleet")
    width, size = tables.centre.shape[1], tables.basis.shape[2]
    x = draft.input("x", [tables.window, width])
    asset = draft.input("asset", [], dtype="int64")
    z = _scale(draft, x, asset, tables)
    column = draft.op("Reshape", z, draft.table("column", np.array([-1, size, 1])))
    deviation = draft.op("Sub", column, _inside(draft, column, asset, tables))
    _score(draft, deviation, asset, tables)
    return draft.to_bytes()


def _scale(draft: GraphDraft, x: str, asset: str, tables: FleetTables) -> str:
    centre = draft.op("Gather", draft.table("centre", tables.centre[:, None, :]), asset)
    inverse = draft.op("Gather", draft.table("inverse", tables.inverse[:, None, :]), asset)
    scaled = draft.op("Mul", draft.op("Sub", x, centre), inverse)
    limits = [draft.table("low", np.array(-CLIP)), draft.table("high", np.array(CLIP))]
    return draft.op("Clip", scaled, *limits)


def _inside(draft: GraphDraft, column: str, asset: str, tables: FleetTables) -> str:
    """Write the shrunken part inside the subspace: basis' diag(shrink) basis z."""
    k, size = tables.basis.shape[1:]
    basis = draft.op("Gather", draft.table("basis", tables.basis), asset)
    shrink = draft.op("Gather", draft.table("shrink", tables.shrink[:, :, None]), asset)
    weights = draft.op("Mul", draft.op("MatMul", basis, column), shrink)
    row = draft.op("Reshape", weights, draft.table("row", np.array([-1, 1, k])))
    inside = draft.op("MatMul", row, basis)
    return draft.op("Reshape", inside, draft.table("upright", np.array([-1, size, 1])))


def _score(draft: GraphDraft, deviation: str, asset: str, tables: FleetTables) -> None:
    width, size = tables.centre.shape[1], tables.basis.shape[2]
    unit = draft.op("Gather", draft.table("unit", tables.unit[:, None]), asset)
    energy = draft.op("Mul", deviation, deviation)
    flat = draft.op("Reshape", energy, draft.table("flat", np.array([-1, size])))
    mean = draft.op("ReduceMean", flat, axes=[1], keepdims=1)
    score = draft.op("Mul", draft.op("Sqrt", mean), unit)
    draft.output(draft.op("Reshape", score, draft.table("rows", np.array([-1]))), "score", [])
    mixer = np.kron(row_weights(tables.window)[:, None], np.eye(width, dtype=np.float32))
    channels = draft.op("MatMul", flat, draft.table("newest", mixer))
    draft.output(draft.op("Mul", draft.op("Sqrt", channels), unit), "score_ch", [width])
