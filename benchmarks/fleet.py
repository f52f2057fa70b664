"""A Sub-PCA fleet trained on the load's own history, as the cloud would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.load import Load
from cloud.train.history import AssetHistory
from cloud.train.subpca import fit_fleet

__all__ = ["train", "values_of"]

ROWS = 320


def train(load: Load, folder: Path) -> Path:
    """Fit all assets of the load, write the model into `folder` and return the folder."""
    channels = tuple(f"ch{channel}" for channel in range(load.channels))
    histories = [
        AssetHistory(
            load.asset(asset), channels, (values_of(load, asset, rows=ROWS).astype(np.float32),)
        )
        for asset in range(load.assets)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    model = fit_fleet(histories, model_id="fleet", version=1)
    (folder / "fleet.onnx").write_bytes(model.data)
    return folder


def values_of(load: Load, asset: int, *, rows: int) -> NDArray[np.float64]:
    """Return the asset's first rows, [rows, channels]."""
    values = [
        [load.value(asset, channel, row) for channel in range(load.channels)] for row in range(rows)
    ]
    return np.array(values, np.float64)
