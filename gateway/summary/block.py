"""Collects finished summaries until they fill a block."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from gateway.directory import Directory
from wire.blocks import SummaryBlock, SummaryColumns, concatenate

__all__ = ["BlockDraft"]


@dataclass(slots=True)
class BlockDraft:
    """Summaries that wait to go up together."""

    gateway: str
    full: int
    """Summaries that make a block go at once."""
    parts: list[tuple[int, list[int], SummaryColumns]] = field(default_factory=list)
    count: int = 0

    def add(self, asset: int, columns: list[int], rows: SummaryColumns) -> None:
        """Add one asset's summaries; `columns` are the positions of its streams."""
        if columns:
            self.parts.append((asset, columns, rows))
            self.count += len(columns)

    def take(self, directory: Directory) -> SummaryBlock | None:
        """Return everything as a block (epoch and seq still empty), None when there is nothing."""
        if not self.count:
            return None
        assets: dict[str, int] = {}
        channels: dict[str, int] = {}
        numbered = []
        for asset, columns, rows in self.parts:
            at = assets.setdefault(directory.assets[asset], len(assets))
            names = [directory.channels[asset][column] for column in columns]
            places = [channels.setdefault(name, len(channels)) for name in names]
            numbered.append(
                replace(
                    rows,
                    asset=np.full(len(columns), at, np.uint16),
                    channel=np.array(places, np.uint16),
                )
            )
        self.parts, self.count = [], 0
        return SummaryBlock(
            self.gateway, "", 0, tuple(assets), tuple(channels), concatenate(numbered)
        )
