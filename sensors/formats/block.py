"""A block of cells: what every file format yields, before the mapping gives it a meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["BLOCK_ROWS", "Block"]

BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """Up to BLOCK_ROWS consecutive rows as columns of raw cells."""

    lines: Sequence[int]
    """[rows] line number in the file, from 1."""
    columns: Mapping[str, Sequence[object]]
    """Column name -> [rows] cells: text, numbers, times, None."""
