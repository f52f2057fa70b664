"""Collects finished summaries until they fill a block."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from gateway.directory import Directory
from wire.blocks import SummaryBlock, SummaryColumns, concatenate

__all__ = ["BlockDraft"]


FEW_PARTS = 16
"""Parts kept apart before they are joined: a summary alone takes ten times its bytes."""


@dataclass(slots=True)
class BlockDraft:
    """Summaries that wait to go up together."""

    gateway: str
    full: int
    """Summaries that make a block go at once."""
    count: int = 0
    parts: list[SummaryColumns] = field(default_factory=list)
    assets: dict[str, int] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)

    def add(
        self, asset: int, columns: list[int], rows: SummaryColumns, directory: Directory
    ) -> None:
        """Add one asset's summaries; `columns` are the positions of its streams."""
        if not columns:
            return
        at = self.assets.setdefault(directory.assets[asset], len(self.assets))
        names = [directory.channels[asset][column] for column in columns]
        places = [self.channels.setdefault(name, len(self.channels)) for name in names]
        numbered = replace(
            rows,
            asset=np.full(len(columns), at, np.uint16),
            channel=np.array(places, np.uint16),
        )
        self.parts.append(numbered)
        self.count += len(columns)
        if len(self.parts) > FEW_PARTS:
            self.parts = [concatenate(self.parts)]

    def take(self) -> SummaryBlock | None:
        """Return everything as a block (epoch and seq still empty), None when there is nothing."""
        if not self.count:
            return None
        names = tuple(self.assets), tuple(self.channels)
        block = SummaryBlock(self.gateway, "", 0, *names, concatenate(self.parts))
        self.count, self.parts, self.assets, self.channels = 0, [], {}, {}
        return block
