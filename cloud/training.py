"""One training: a group's stored rows in, registered champions out."""

from __future__ import annotations

import time
from dataclasses import dataclass

from cloud.groups import Group, join_excerpts, model_id, shards
from cloud.registry import Registry
from cloud.store import Store
from cloud.train.history import AssetHistory
from cloud.train.subpca import FleetSettings, fit_fleet
from wire.contract import ModelFile

__all__ = ["Training", "fit_group", "keep"]


@dataclass(frozen=True, slots=True)
class Training:
    """The models of one group, in one file a shard; `rows` (count) were at hand."""

    group: Group
    models: tuple[ModelFile, ...]
    rows: int
    took_s: float


def fit_group(
    group: Group, *, store: Store, registry: Registry, settings: FleetSettings
) -> Training:
    """Fit a group from the database; raise TrainingError when no asset can be trained on."""
    began_s = time.perf_counter()
    models = []
    for shard, assets in enumerate(shards(group)):
        name = model_id(group.channels, shard=shard)
        histories = [_history(store, asset, group.channels, settings) for asset in assets]
        version = registry.next_version(name)
        models.append(fit_fleet(histories, model_id=name, version=version, settings=settings))
    return Training(group, tuple(models), group.total_rows, time.perf_counter() - began_s)


def keep(training: Training, *, registry: Registry, created_us: int) -> None:
    """Register the models of a training and make them champions."""
    for model in training.models:
        registry.register(model, rows=training.rows, created_us=created_us)
        registry.promote(model.card.id, version=model.card.version)


def _history(
    store: Store, asset: str, channels: tuple[str, ...], settings: FleetSettings
) -> AssetHistory:
    excerpts = store.training_excerpts(asset, max_rows=settings.max_rows)
    return join_excerpts(asset, channels=channels, excerpts=excerpts)
