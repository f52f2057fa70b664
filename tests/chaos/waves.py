"""Values that anybody can compute again: a function of source, row and channel, nothing else."""

from __future__ import annotations

import math

__all__ = ["BASE_MS", "row_values", "source_name", "time_ms"]

BASE_MS = 1_700_000_000_000
"""Event time of row 0."""
STEP_MS = 1000
MASK = 2**64 - 1
BLOCK_ROWS = 150
STEP_FIRST, STEP_LAST = 100, 103
STEP_SIZE = 40.0


def source_name(source: int) -> str:
    """Name of the source with this index."""
    return f"chaos-{source:02d}"


def time_ms(row: int) -> int:
    """Event time of a row, counted from 1: exactly one second each."""
    return BASE_MS + STEP_MS * row


def row_values(source: int, row: int, channels: int) -> dict[str, float]:
    """Values of a row, counted from 1: a slow wave, noise, and now and then a planted step."""
    step = STEP_SIZE if _is_step(source, row) else 0.0
    return {f"c{channel}": _value(source, row, channel) + step for channel in range(channels)}


def _value(source: int, row: int, channel: int) -> float:
    wave = math.sin(row * 2 * math.pi / (97 + 13 * channel + source))
    noise = sum(_uniform(source, row, channel, part) for part in range(3)) - 1.5
    return round(10.0 * (channel + 1) + wave + noise, 4)


def _is_step(source: int, row: int) -> bool:
    """About two thirds of the blocks of 150 rows hold a step of 3 rows."""
    block, place = divmod(row, BLOCK_ROWS)
    return STEP_FIRST <= place < STEP_LAST and _uniform(source, block, 0, 9) < 2 / 3


def _uniform(source: int, row: int, channel: int, part: int) -> float:
    """Mix the four numbers to 0..1 (splitmix64)."""
    mixed = (source << 48 ^ channel << 40 ^ part << 36 ^ row) + 0x9E3779B97F4A7C15 & MASK
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & MASK
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & MASK
    return (mixed ^ mixed >> 31) / 2**64
