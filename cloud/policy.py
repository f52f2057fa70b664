"""When to train: enough history, new rows, and not too often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloud.groups import Group

__all__ = ["RetrainPolicy", "Trained"]


@dataclass(frozen=True, slots=True)
class Trained:
    """The last training of a group: rows (count) it had and when it ended (seconds)."""

    rows: int
    at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPolicy:
    """Decides which groups are due; knows no clock and keeps no state."""

    min_rows: int = 512
    """Rows (count) that make an asset ready."""
    interval_s: float = 3600.0
    """Least time (seconds) between two trainings of one group."""
    ready_share: float = 0.8
    """Share (0..1) of a group's assets that must be ready for its first training."""

    def due(
        self, groups: list[Group], *, trained: Mapping[tuple[str, ...], Trained], now_s: float
    ) -> list[Group]:
        """Return the groups to train now."""
        return [group for group in groups if self._is_due(group, trained, now_s)]

    def _is_due(
        self, group: Group, trained: Mapping[tuple[str, ...], Trained], now_s: float
    ) -> bool:
        ready = sum(rows >= self.min_rows for rows in group.rows.values())
        last = trained.get(group.channels)
        if last is None:
            return ready > 0 and ready >= self.ready_share * len(group.rows)
        return ready > 0 and group.total_rows > last.rows and now_s >= last.at_s + self.interval_s
