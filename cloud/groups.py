"""Which assets are trained together: those with the same channels, in files that stay small."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.train.history import AssetHistory
from wire.blocks import ExcerptBlock

__all__ = ["AssetRows", "Group", "group_assets", "join_excerpts", "model_id", "shards"]

GAP_PERIODS = 10
SHARD_FLOATS = 3_000_000
FLOATS_A_CHANNEL = 8 * 32


@dataclass(frozen=True, slots=True)
class AssetRows:
    """Training rows (count) at hand of one asset with these channels."""

    asset: str
    channels: tuple[str, ...]
    rows: int


@dataclass(frozen=True, slots=True)
class Group:
    """Assets that share their channels (sorted by name), with the rows (count) of each."""

    channels: tuple[str, ...]
    rows: dict[str, int]

    @property
    def total_rows(self) -> int:
        """Rows (count) of all assets together."""
        return sum(self.rows.values())


def group_assets(found: Iterable[AssetRows]) -> list[Group]:
    """Group assets by all channels that each has ever had; groups and assets by name."""
    channels: dict[str, set[str]] = {}
    rows: dict[str, int] = {}
    for part in found:
        channels.setdefault(part.asset, set()).update(part.channels)
        rows[part.asset] = rows.get(part.asset, 0) + part.rows
    groups: dict[tuple[str, ...], Group] = {}
    for asset in sorted(channels):
        key = tuple(sorted(channels[asset]))
        groups.setdefault(key, Group(key, {})).rows[asset] = rows[asset]
    return [groups[key] for key in sorted(groups)]


def model_id(channels: Sequence[str], *, shard: int = 0) -> str:
    """Return the name of the model of these channels, the same on every run."""
    digest = hashlib.sha256("\0".join(channels).encode()).hexdigest()[:8]
    return f"subpca-{digest}" + (f"-{shard}" if shard else "")


def shards(group: Group) -> list[list[str]]:
    """Cut a group's assets, by name, into lists whose tables fit one model file."""
    assets = sorted(group.rows)
    size = max(SHARD_FLOATS // (FLOATS_A_CHANNEL * len(group.channels)), 1)
    return [assets[start : start + size] for start in range(0, len(assets), size)]


def join_excerpts(
    asset: str, *, channels: tuple[str, ...], excerpts: Sequence[ExcerptBlock]
) -> AssetHistory:
    """Join excerpts in time; of rows with the same time the last given one counts.

    A new segment begins where rows are more than 10 median periods apart.
    """
    times_us = np.concatenate([block.times_us for block in excerpts])
    values = np.concatenate([_columns(block, channels) for block in excerpts])
    _, newest = np.unique(times_us[::-1], return_index=True)
    order = times_us.size - 1 - newest
    times_us, values = times_us[order], values[order]
    steps = np.diff(times_us)
    gap = GAP_PERIODS * float(np.median(steps)) if steps.size else 0.0
    segments = np.split(values, np.flatnonzero(steps > gap) + 1)
    return AssetHistory(asset, channels, tuple(segments))


def _columns(block: ExcerptBlock, channels: tuple[str, ...]) -> NDArray[np.float32]:
    values = np.full((block.times_us.size, len(channels)), np.nan, np.float32)
    position = {name: index for index, name in enumerate(channels)}
    for column, name in enumerate(block.channels):
        values[:, position[name]] = block.values[:, column]
    return values
