"""Columnar blocks that go upstream: summaries and excerpts, MessagePack inside zstd."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
import zstandard
from msgspec import Meta
from numpy.typing import NDArray

from wire import columns
from wire.errors import MessageError
from wire.messages import Count, Epoch, Name, Seq, Text

__all__ = [
    "MAX_BLOCK_BYTES",
    "MAX_UNPACKED_BYTES",
    "SKETCH_POINTS",
    "ExcerptBlock",
    "SummaryBlock",
    "SummaryColumns",
    "concatenate",
    "decode_excerpt",
    "decode_summaries",
    "encode_excerpt",
    "encode_summaries",
]

MAX_BLOCK_BYTES = 1_000_000
MAX_UNPACKED_BYTES = 16 * 1_048_576
SKETCH_POINTS = 16
LEVEL = 3

ROW_DTYPES: Mapping[str, str] = {
    "asset": "<u2",
    "channel": "<u2",
    "start_us": "times",
    "end_us": "times",
    "count": "<u4",
    "missing": "<u4",
    "mean": "<f4",
    "variance": "<f4",
    "low": "<f4",
    "high": "<f4",
    "first": "<f4",
    "last": "<f4",
    "error": "<f4",
    "knots": "<u2",
}

T = TypeVar("T", bound=msgspec.Struct)

Names = Annotated[tuple[Name, ...], Meta(max_length=65_536)]
Channels = Annotated[tuple[Text, ...], Meta(max_length=65_536)]


@dataclass(frozen=True, slots=True, eq=False)
class SummaryColumns:
    """N summaries as columns of length N; knots and sketches lie flat behind one another.

    A straight line between neighbouring knots is within `error` of every reading.
    """

    asset: NDArray[np.uint16]
    """Index into the block's `assets`."""
    channel: NDArray[np.uint16]
    """Index into the block's `channels`."""
    start_us: NDArray[np.int64]
    """First reading, microseconds since 1970-01-01 UTC."""
    end_us: NDArray[np.int64]
    """Last reading, microseconds since 1970-01-01 UTC."""
    count: NDArray[np.uint32]
    """Count of readings."""
    missing: NDArray[np.uint32]
    """Count of readings known to be missing (null values)."""
    mean: NDArray[np.float32]
    """Mean, channel's unit."""
    variance: NDArray[np.float32]
    """Population variance, channel's unit squared."""
    low: NDArray[np.float32]
    """Smallest value, channel's unit."""
    high: NDArray[np.float32]
    """Largest value, channel's unit."""
    first: NDArray[np.float32]
    """Value of the first reading, channel's unit."""
    last: NDArray[np.float32]
    """Value of the last reading, channel's unit."""
    error: NDArray[np.float32]
    """Bound on |reading - line through the knots|, channel's unit."""
    knots: NDArray[np.uint16]
    """Count of knots of each summary."""
    knot_us: NDArray[np.int64]
    """Flat: microseconds of each knot since its summary's `start_us`."""
    knot_value: NDArray[np.float32]
    """Flat: value of each knot, channel's unit."""
    sketch: NDArray[np.uint8]
    """[N, SKETCH_POINTS]: quantiles (i + 0.5) / SKETCH_POINTS in 1/255 of low..high."""


@dataclass(frozen=True, slots=True, eq=False)
class SummaryBlock:
    """Summaries of one gateway; (gateway, epoch, seq) identifies the block."""

    gateway: str
    """Gateway that made it."""
    epoch: str
    """Epoch of the gateway's own messages."""
    seq: int
    """Sequence number (count, from 1) among the gateway's blocks of this epoch."""
    assets: tuple[str, ...]
    """Names that `rows.asset` points into."""
    channels: tuple[str, ...]
    """Names that `rows.channel` points into."""
    rows: SummaryColumns
    """The summaries."""


@dataclass(frozen=True, slots=True, eq=False)
class ExcerptBlock:
    """Full-rate rows of one asset: `values[i]` are all channels at `times_us[i]`."""

    gateway: str
    """Gateway that made it."""
    epoch: str
    """Epoch of the gateway's own messages."""
    seq: int
    """Sequence number (count, from 1) among the gateway's blocks of this epoch."""
    asset: str
    """Asset that the rows are of."""
    channels: tuple[str, ...]
    """Names of the columns of `values`."""
    reason: Literal["history", "sample", "alert"]
    """Why they were kept."""
    times_us: NDArray[np.int64]
    """[n]: microseconds since 1970-01-01 UTC."""
    values: NDArray[np.float32]
    """[n, channels]: in each channel's unit, NaN = missing."""


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: Literal[1]
    """Message version."""
    gateway: Name
    """Gateway that made it."""
    epoch: Epoch
    """Epoch of the gateway's own messages."""
    seq: Seq
    """Sequence number among the gateway's blocks of this epoch, of both types, no holes."""


class _Summaries(_Head, frozen=True, tag="summaries", forbid_unknown_fields=True):
    assets: Names
    """Names that column `asset` points into."""
    channels: Channels
    """Names that column `channel` points into."""
    n: Count
    """Count of summaries."""
    columns: dict[str, bytes]
    """One packed column of `n` numbers for each name of the column table."""
    knot_us: bytes
    """Packed int64, as many as `knots` adds up to: microseconds since the summary's `start_us`."""
    knot_value: bytes
    """Packed float32, as many: value of each knot, channel's unit."""
    sketch: bytes
    """Packed uint8, 16 a summary: its quantiles in 1/255 of `low`..`high`."""


class _Excerpt(_Head, frozen=True, tag="excerpt", forbid_unknown_fields=True):
    asset: Name
    """Asset that the rows are of."""
    channels: Annotated[Channels, Meta(min_length=1)]
    """Names of the columns of `values`."""
    reason: Literal["history", "sample", "alert"]
    """Why the rows were kept."""
    n: Count
    """Count of rows."""
    times: bytes
    """Packed times of the rows: microseconds since 1970-01-01 UTC."""
    values: bytes
    """Packed float32: `n` values of the first channel, then of the next; NaN = missing."""


_DECODER: msgspec.msgpack.Decoder[_Summaries | _Excerpt] = msgspec.msgpack.Decoder(
    _Summaries | _Excerpt
)


def encode_summaries(block: SummaryBlock) -> bytes:
    """Encode a block of summaries; equal blocks give equal bytes.

    Raise MessageError on what `decode_summaries` would refuse: a block too large must be split.
    """
    rows = block.rows
    packed = {name: _pack(getattr(rows, name), kind) for name, kind in ROW_DTYPES.items()}
    raw = _Summaries(
        v=1,
        gateway=block.gateway,
        epoch=block.epoch,
        seq=block.seq,
        assets=block.assets,
        channels=block.channels,
        n=rows.count.size,
        columns=packed,
        knot_us=columns.pack(rows.knot_us, "<i8"),
        knot_value=columns.pack(rows.knot_value, "<f4"),
        sketch=columns.pack(rows.sketch, "u1"),
    )
    _summary_block(raw)
    return _compress(raw)


def decode_summaries(payload: bytes) -> SummaryBlock:
    """Decode a block of summaries; raise MessageError on anything that does not fit."""
    return _summary_block(_decompress(payload, _Summaries))


def _summary_block(raw: _Summaries) -> SummaryBlock:
    columns.expect(
        raw.columns.keys() == ROW_DTYPES.keys(), "columns", [*ROW_DTYPES], sorted(raw.columns)[:20]
    )
    parts: dict[str, Any] = {
        name: _unpack(raw.columns[name], kind, count=raw.n, what=name)
        for name, kind in ROW_DTYPES.items()
    }
    total = int(parts["knots"].sum())
    rows = SummaryColumns(
        **parts,
        knot_us=columns.unpack(raw.knot_us, "<i8", count=total, what="knot_us"),
        knot_value=columns.unpack(raw.knot_value, "<f4", count=total, what="knot_value"),
        sketch=columns.unpack(raw.sketch, "u1", count=raw.n * SKETCH_POINTS, what="sketch").reshape(
            raw.n, SKETCH_POINTS
        ),
    )
    _check_index(rows.asset, raw.assets, "asset")
    _check_index(rows.channel, raw.channels, "channel")
    return SummaryBlock(raw.gateway, raw.epoch, raw.seq, raw.assets, raw.channels, rows)


def encode_excerpt(block: ExcerptBlock) -> bytes:
    """Encode one excerpt; equal blocks give equal bytes.

    Raise MessageError on what `decode_excerpt` would refuse: a block too large must be split.
    """
    shape = (block.times_us.size, len(block.channels))
    columns.expect(block.values.shape == shape, "values", shape, block.values.shape)
    return _compress(
        _Excerpt(
            v=1,
            gateway=block.gateway,
            epoch=block.epoch,
            seq=block.seq,
            asset=block.asset,
            channels=block.channels,
            reason=block.reason,
            n=block.times_us.size,
            times=columns.pack_times(block.times_us),
            values=columns.pack(block.values.T, "<f4"),
        )
    )


def decode_excerpt(payload: bytes) -> ExcerptBlock:
    """Decode one excerpt; raise MessageError on anything that does not fit."""
    raw = _decompress(payload, _Excerpt)
    width = len(raw.channels)
    values = columns.unpack(raw.values, "<f4", count=raw.n * width, what="values")
    return ExcerptBlock(
        gateway=raw.gateway,
        epoch=raw.epoch,
        seq=raw.seq,
        asset=raw.asset,
        channels=raw.channels,
        reason=raw.reason,
        times_us=columns.unpack_times(raw.times, count=raw.n, what="times"),
        values=np.ascontiguousarray(values.reshape(width, raw.n).T),
    )


def concatenate(parts: list[SummaryColumns]) -> SummaryColumns:
    """Join one or more sets of summaries one behind the other."""
    return SummaryColumns(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(parts[0])
        )
    )


def _pack(column: NDArray[Any], kind: str) -> bytes:
    return columns.pack_times(column) if kind == "times" else columns.pack(column, kind)


def _unpack(data: bytes, kind: str, *, count: int, what: str) -> NDArray[Any]:
    if kind == "times":
        return columns.unpack_times(data, count=count, what=what)
    return columns.unpack(data, kind, count=count, what=what)


def _check_index(index: NDArray[np.uint16], names: tuple[str, ...], what: str) -> None:
    highest = int(index.max(initial=0))
    columns.expect(not index.size or highest < len(names), what, f"below {len(names)}", highest)


def _compress(raw: msgspec.Struct) -> bytes:
    body = msgspec.msgpack.encode(raw)
    _expect_size(len(body), MAX_UNPACKED_BYTES, "of MessagePack")
    _parse(body)
    payload = zstandard.ZstdCompressor(level=LEVEL).compress(body)
    _expect_size(len(payload), MAX_BLOCK_BYTES, "of zstd")
    return payload


def _decompress(payload: bytes, kind: type[T]) -> T:
    _expect_size(len(payload), MAX_BLOCK_BYTES, "of zstd")
    try:
        size = zstandard.frame_content_size(payload)
        columns.expect(size >= 0, "frame", "a zstd frame that states its content size", "none")
        _expect_size(size, MAX_UNPACKED_BYTES, "of MessagePack")
        body = zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise MessageError("not_zstd", f"expected one zstd frame, got {error}") from None
    raw = _parse(body)
    if not isinstance(raw, kind):
        expected, got = (t.__struct_config__.tag for t in (kind, type(raw)))
        raise MessageError("wrong_type", f"expected a block of {expected}, got {got}")
    return raw


def _parse(body: bytes) -> _Summaries | _Excerpt:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "wrong_version" if str(error).endswith("`$.v`") else "bad_block"
        raise MessageError(reason, f"expected a block of version 1: {error}") from None


def _expect_size(size: int, limit: int, what: str) -> None:
    if size > limit:
        raise MessageError("too_large", f"expected at most {limit} bytes {what}, got {size}")
