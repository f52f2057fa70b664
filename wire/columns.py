"""Columns of numbers as compact bytes: little-endian, byte planes apart, times as differences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wire.errors import MessageError

__all__ = ["expect", "pack", "pack_times", "unpack", "unpack_times"]


def pack(column: NDArray[Any], dtype: str) -> bytes:
    """Lay the column out byte plane by byte plane, which compresses far better than rows.

    Raise MessageError when an integer does not fit `dtype`.
    """
    kind = np.dtype(dtype)
    flat = np.ascontiguousarray(column, dtype=kind).reshape(-1)
    if kind.kind != "f" and not np.array_equal(flat, column.reshape(-1)):
        span = f"{column.min()} to {column.max()}"
        raise MessageError("bad_block", f"column: expected integers of {kind.name}, got {span}")
    planes = flat.view(np.uint8).reshape(flat.size, flat.dtype.itemsize)
    return planes.T.tobytes()


def unpack(data: bytes, dtype: str, *, count: int, what: str) -> NDArray[Any]:
    """Undo `pack`; raise MessageError unless `data` holds exactly `count` numbers."""
    kind = np.dtype(dtype)
    expect(len(data) == count * kind.itemsize, what, count * kind.itemsize, len(data))
    planes = np.frombuffer(data, np.uint8).reshape(kind.itemsize, count)
    return planes.T.copy(order="C").reshape(-1).view(kind)


def pack_times(times_us: NDArray[np.int64]) -> bytes:
    """Pack int64 microseconds as first value and differences, both modulo 2^64."""
    return pack(np.diff(times_us, prepend=np.int64(0)), "<i8")


def unpack_times(data: bytes, *, count: int, what: str) -> NDArray[np.int64]:
    """Undo `pack_times`; raise MessageError unless `data` holds exactly `count` times."""
    differences = unpack(data, "<i8", count=count, what=what)
    return np.cumsum(differences, dtype=np.int64)


def expect(holds: bool, what: str, expected: object, got: object) -> None:  # noqa: FBT001 - an assertion's condition
    """Raise MessageError unless the condition holds."""
    if not holds:
        raise MessageError("bad_block", f"{what}: expected {expected}, got {got}")
