"""A batch's columns as few bytes: only what the others do not tell, decimals as whole numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.batch import Batch
from wire import columns

__all__ = ["PackedBatch", "join", "pack_batch", "pack_values", "unpack_batch", "unpack_values"]

DIGITS = (4, 2, 3, 1, 0, 5, 6)
"""Decimals that are tried, the usual ones first."""
LARGEST_SCALED = 2.0**31 - 1


class PackedValues(msgspec.Struct, frozen=True, array_like=True):
    """Values as integers of 10^-`digits`, or as floats where no such number of digits is exact."""

    dtype: str
    digits: int
    data: bytes
    missing: bytes
    """Bits of the places that are NaN; empty = none is."""


class PackedBatch(msgspec.Struct, frozen=True, array_like=True):
    """Columns of a batch as differences and byte planes, which compress well."""

    frames: int
    readings: int
    width: bytes
    """Empty = every frame has one reading."""
    stream: bytes
    time_us: bytes
    seq: bytes
    """Empty = no frame has one."""
    value: PackedValues


def pack_batch(batch: Batch) -> PackedBatch:
    """Pack a batch; a frame's asset is that of its first stream, so that it is left out."""
    narrow = batch.width.size == batch.value.size
    return PackedBatch(
        frames=batch.width.size,
        readings=batch.value.size,
        width=b"" if narrow else columns.pack(batch.width, "<i4"),
        stream=_pack_steps(batch.stream.astype(np.int64)),
        time_us=_pack_steps(batch.time_us),
        seq=_pack_steps(batch.seq) if batch.seq.any() else b"",
        value=pack_values(batch.value),
    )


def unpack_batch(packed: PackedBatch, asset_of: NDArray[np.int32]) -> Batch:
    """Undo `pack_batch`; `asset_of` [streams] names the asset of each stream."""
    frames, readings = packed.frames, packed.readings
    width = np.ones(frames, np.int32)
    if packed.width:
        width = columns.unpack(packed.width, "<i4", count=frames, what="width")
    stream = _unpack_steps(packed.stream, readings, "stream").astype(np.int32)
    first = np.cumsum(width) - width
    seq = np.zeros(frames, np.int64)
    return Batch(
        asset=asset_of[stream[first]],
        time_us=_unpack_steps(packed.time_us, frames, "time"),
        width=width,
        stream=stream,
        value=unpack_values(packed.value, readings),
        seq=_unpack_steps(packed.seq, frames, "seq") if packed.seq else seq,
    )


def pack_values(value: NDArray[np.float64]) -> PackedValues:
    """Pack float64 exactly: as int32 of the fewest digits that give the same bits back."""
    missing = np.isnan(value)
    bits = np.packbits(missing).tobytes() if missing.any() else b""
    known = np.where(missing, 0.0, value) if bits else value
    if np.abs(known).max(initial=0.0) <= LARGEST_SCALED and not np.signbit(known[known == 0]).any():
        for digits in DIGITS:
            scale = 10.0**digits
            scaled = np.rint(known * scale)
            exact = scaled / scale == known
            if exact.all() and np.abs(scaled).max(initial=0.0) <= LARGEST_SCALED:
                return PackedValues("<i4", digits, columns.pack(scaled.astype("<i4"), "<i4"), bits)
    single = known.astype(np.float32) if np.abs(known).max(initial=0.0) < 1e38 else None
    if single is not None and np.array_equal(single.astype(np.float64), known):
        return PackedValues("<f4", 0, columns.pack(single, "<f4"), bits)
    return PackedValues("<f8", 0, columns.pack(known, "<f8"), bits)


def unpack_values(packed: PackedValues, count: int) -> NDArray[np.float64]:
    """Undo `pack_values`."""
    value: NDArray[Any] = columns.unpack(packed.data, packed.dtype, count=count, what="value")
    value = value.astype(np.float64)
    if packed.dtype == "<i4":
        value /= 10.0**packed.digits
    if packed.missing:
        bits = np.unpackbits(np.frombuffer(packed.missing, np.uint8), count=count)
        value[bits.astype(np.bool_)] = np.nan
    return value


def join(batches: list[Batch]) -> Batch:
    """Join batches one behind the other."""
    if len(batches) == 1:
        return batches[0]
    return Batch(
        asset=np.concatenate([batch.asset for batch in batches]),
        time_us=np.concatenate([batch.time_us for batch in batches]),
        width=np.concatenate([batch.width for batch in batches]),
        stream=np.concatenate([batch.stream for batch in batches]),
        value=np.concatenate([batch.value for batch in batches]),
        seq=np.concatenate([batch.seq for batch in batches]),
    )


def _pack_steps(column: NDArray[np.int64]) -> bytes:
    return columns.pack(np.diff(column, prepend=np.int64(0)), "<i8")


def _unpack_steps(data: bytes, count: int, what: str) -> NDArray[np.int64]:
    steps = columns.unpack(data, "<i8", count=count, what=what)
    return np.cumsum(steps, dtype=np.int64)
