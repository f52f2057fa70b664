"""Where a message stands among those of its gateway."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LedgerKey", "Place"]


@dataclass(frozen=True, slots=True, order=True)
class LedgerKey:
    """One numbering of a gateway: each of its lanes has an epoch of its own."""

    gateway: str
    epoch: str


@dataclass(frozen=True, slots=True)
class Place:
    """One number (count, from 1) in a ledger."""

    key: LedgerKey
    seq: int
