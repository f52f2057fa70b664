"""Fits the Sub-PCA fleet: one model file for all assets that share their channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cloud.errors import TrainingError
from cloud.train.calibration import alert_rule, calibrate
from cloud.train.graph import FleetTables, export_fleet
from cloud.train.history import AssetHistory, digest, windows_of
from cloud.train.subspace import (
    Scaling,
    Subspaces,
    explaining_components,
    fit_scaling,
    fit_subspaces,
    raw_scores,
)
from wire.contract import (
    MAX_MODEL_BYTES,
    AlertRule,
    Channel,
    Golden,
    ModelCard,
    ModelFile,
    encode_array,
    write_model,
)

__all__ = ["FleetSettings", "default_window", "fit_fleet", "screen"]

Array = NDArray[np.float64]

HEAD_SHARE = 0.7
USUAL = 0.9
RAW_FLOOR = 0.01
MOMENT_BYTES = 64 * 1024 * 1024
PROBE_ASSETS = 256
GOLDEN_ROWS = 4
MAX_WIDTH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """How a fleet is fitted; 0 = chosen from the data."""

    window: int = 0
    """Rows of a window; by default 32 for one channel, 16 for several, fewer beyond 16 channels."""
    components: int = 0
    """Components of each subspace; by default what explains 90 % of the median asset, <= 8."""
    min_rows: int = 128
    """Rows (count) that an asset needs to take part."""
    max_rows: int = 20_000
    """Newest rows (count) of an asset that are used."""
    alert: AlertRule = field(default_factory=alert_rule)
    """From p-values to episodes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Scaled:
    """Rows with the scaling that applies to them."""

    history: AssetHistory
    scaling: Scaling

    def raw_scores(self, subspaces: Subspaces, index: int, *, window: int) -> Array:
        windows = self.scaling.windows(self.history, window)
        return raw_scores(windows, basis=subspaces.basis[index], shrink=subspaces.shrink[index])


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """One asset: everything that goes into the tables, and its scores on unseen rows."""

    scaling: Scaling
    basis: Array
    shrink: Array
    usual: float
    unseen: Array


def fit_fleet(
    histories: Sequence[AssetHistory],
    *,
    model_id: str,
    version: int,
    settings: FleetSettings | None = None,
) -> ModelFile:
    """Fit all assets that have enough rows; equal histories give equal bytes.

    The tables come from all rows; the calibration from a fit of the first 70 % of each asset,
    scored on the rest and pooled, each asset in units of its own usual score.
    Raises TrainingError when no asset is left or the file would exceed 16 MiB.
    """
    settings = settings or FleetSettings()
    kept, left_out = screen(histories, settings=settings)
    if not kept:
        raise TrainingError(f"expected an asset with enough rows, got none: {_listed(left_out)}")
    window = settings.window or default_window(len(kept[0].channels))
    fits = _fit_all(kept, window=window, components=settings.components)
    tables = _tables(fits, window=window)
    if tables.size_bytes > MAX_MODEL_BYTES * 0.9:
        raise TrainingError(
            f"expected tables below {MAX_MODEL_BYTES} bytes, got {tables.size_bytes} for "
            f"{len(kept)} assets; train them in smaller groups"
        )
    card = ModelCard(
        schema="vedette-model/1",
        id=model_id,
        version=version,
        task="anomaly",
        window=window,
        channels=tuple(Channel(name) for name in kept[0].channels),
        assets=tuple(history.asset for history in kept),
        calibration=calibrate(np.concatenate([fit.unseen for fit in fits])),
        alert=settings.alert,
        provenance=_provenance(kept, left_out, components=fits[0].shrink.size),
        golden=_golden(kept, fits, window=window),
    )
    return write_model(export_fleet(tables), card)


def default_window(channels: int) -> int:
    """Return the rows of a window for this count of channels: at most 256 values."""
    return 32 if channels == 1 else max(min(16, MAX_WIDTH // channels), 1)


def screen(
    histories: Sequence[AssetHistory], *, settings: FleetSettings
) -> tuple[list[AssetHistory], dict[str, str]]:
    """Return the histories that can be trained on, by asset name, and why others cannot.

    Raises TrainingError unless all have the same channels.
    """
    channels = {history.channels for history in histories}
    if len(channels) > 1:
        raise TrainingError(f"expected one list of channels, got {sorted(channels)[:3]}")
    kept: list[AssetHistory] = []
    left_out: dict[str, str] = {}
    for history in sorted(histories, key=lambda history: history.asset):
        newest = history.newest(settings.max_rows)
        reason = _shortage(newest, settings)
        if reason:
            left_out[history.asset] = reason
        else:
            kept.append(newest)
    return kept, left_out


def _shortage(history: AssetHistory, settings: FleetSettings) -> str:
    if history.rows < settings.min_rows:
        return f"expected {settings.min_rows} rows, got {history.rows}"
    window = settings.window or default_window(len(history.channels))
    head, tail = history.cut(int(history.rows * HEAD_SHARE))
    if min(head.windows(window), tail.windows(window)) < window:
        return f"expected {window} windows without a gap at both ends of the history, got fewer"
    return ""


def _fit_all(histories: Sequence[AssetHistory], *, window: int, components: int) -> list[_Fit]:
    size = window * len(histories[0].channels)
    if not components:
        probe = histories[:: max(len(histories) // PROBE_ASSETS, 1)]
        scaled = [_Scaled(history, fit_scaling(history)) for history in probe]
        components = explaining_components(_moments(scaled, window=window))
    chunk = max(MOMENT_BYTES // (8 * size * size), 1)
    return [
        fit
        for start in range(0, len(histories), chunk)
        for fit in _fit_chunk(histories[start : start + chunk], window=window, k=components)
    ]


def _fit_chunk(histories: Sequence[AssetHistory], *, window: int, k: int) -> Iterator[_Fit]:
    cuts = [history.cut(int(history.rows * HEAD_SHARE)) for history in histories]
    heads = [_Scaled(head, fit_scaling(head)) for head, _ in cuts]
    wholes = [_Scaled(history, fit_scaling(history)) for history in histories]
    early = fit_subspaces(_moments(heads, window=window), components=k)
    final = fit_subspaces(_moments(wholes, window=window), components=k)
    for index, (head, whole, (_, tail)) in enumerate(zip(heads, wholes, cuts, strict=True)):
        seen = head.raw_scores(early, index, window=window)
        unseen = _Scaled(tail, head.scaling).raw_scores(early, index, window=window)
        usual = _usual(whole.raw_scores(final, index, window=window))
        basis, shrink = final.basis[index], final.shrink[index]
        yield _Fit(whole.scaling, basis, shrink, usual, unseen / _usual(seen))


def _moments(parts: Sequence[_Scaled], *, window: int) -> Array:
    windows = (part.scaling.windows(part.history, window) for part in parts)
    return np.stack([flat.T @ flat / flat.shape[0] for flat in windows])


def _usual(raw: Array) -> float:
    return max(float(np.quantile(raw, USUAL)), RAW_FLOOR)


def _tables(fits: Sequence[_Fit], *, window: int) -> FleetTables:
    def stacked(rows: list[Array]) -> NDArray[np.float32]:
        return np.stack(rows).astype(np.float32)

    return FleetTables(
        centre=stacked([fit.scaling.centre for fit in fits]),
        inverse=stacked([1 / fit.scaling.scale for fit in fits]),
        basis=stacked([fit.basis for fit in fits]),
        shrink=stacked([fit.shrink for fit in fits]),
        unit=np.array([1 / fit.usual for fit in fits], np.float32),
        window=window,
    )


def _golden(histories: Sequence[AssetHistory], fits: Sequence[_Fit], *, window: int) -> Golden:
    """Take a window of the first and the last asset, from both ends of their histories."""
    picks = [(index, end) for index in (0, len(fits) - 1) for end in (0, -1)][:GOLDEN_ROWS]
    x, scores = [], []
    for index, end in picks:
        history, fit = histories[index], fits[index]
        held = [np.nan_to_num(part.astype(np.float64)) for part in history.segments]
        x.append(windows_of(held, window)[end])
        plain = AssetHistory(
            history.asset,
            history.channels,
            (x[-1].reshape(window, -1).astype(np.float32),),
        )
        scaled = fit.scaling.windows(plain, window)
        scores.append(raw_scores(scaled, basis=fit.basis, shrink=fit.shrink)[0] / fit.usual)
    return Golden(
        x=encode_array(np.stack(x).astype(np.float32)),
        score=encode_array(np.array(scores, np.float32)),
        rows=len(picks),
        atol=1e-3,
        asset=tuple(index for index, _ in picks),
    )


def _provenance(
    kept: Sequence[AssetHistory], left_out: Mapping[str, str], *, components: int
) -> dict[str, str]:
    return {
        "method": "Sub-PCA, closed form",
        "components": str(components),
        "assets": str(len(kept)),
        "rows": str(sum(history.rows for history in kept)),
        "data_sha256": digest(kept),
        "left_out": _listed(left_out),
    }


def _listed(left_out: Mapping[str, str]) -> str:
    shown = "; ".join(f"{asset}: {reason}" for asset, reason in list(left_out.items())[:8])
    return shown + (f"; and {len(left_out) - 8} more" if len(left_out) > 8 else "")
