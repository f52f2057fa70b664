"""A row of the journal: all that one commit took in, and where the counters stood after it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray

from gateway.batch import Batch
from gateway.durable.events import Event, Flush, Reserve, Taken, Tick
from gateway.durable.pack import PackedBatch, join, pack_batch, unpack_batch
from gateway.errors import StorageError
from wire.errors import MessageError

__all__ = [
    "JournalRow",
    "MarkState",
    "decode_row",
    "encode_row",
    "joined",
    "pack_events",
    "seal",
    "unpack_events",
    "unseal",
]

LEVEL = 1
CRC_BYTES = 4
MOST_BYTES = 1 << 30
TICK, FLUSH = "tick", "flush"


class MarkState(msgspec.Struct, frozen=True, array_like=True):
    """Mark of a source, whole."""

    asset: int
    epoch: str
    seq: int
    older: dict[str, int]


class JournalRow(msgspec.Struct, frozen=True, array_like=True):
    """One commit. `events` happened in this order."""

    at: tuple[int, int]
    """Assets and streams that there were before it."""
    assets: tuple[str, ...]
    """Names that appeared since the row before, in order."""
    streams: tuple[tuple[int, str, str], ...]
    """(asset, channel, unit) that appeared since the row before, in order."""
    events: tuple[PackedBatch | int | str, ...]
    """A batch, `tick`, `flush`, or a count of reserved numbers."""
    marks: tuple[MarkState, ...]
    """Marks of sources that changed otherwise than the batches tell."""
    packets: tuple[tuple[int, int], ...]
    """(packet id, checksum) of messages without an identity of their own."""
    altered: tuple[tuple[str, int], ...]
    """(epoch, seq) of entries that this commit dropped or replaced: a replay must not make them."""
    counters: dict[str, int]
    """The ledger after this row."""
    lanes: dict[str, int]
    """Newest sequence number of each lane after this row."""
    scored: dict[str, int]
    """Readings scored so far, by digest of the model."""
    time_ms: int
    """Wall clock, milliseconds since 1970-01-01 UTC."""


_DECODER = msgspec.msgpack.Decoder(JournalRow)


def encode_row(row: JournalRow) -> bytes:
    """Encode a row with its checksum."""
    return seal(msgspec.msgpack.encode(row), level=LEVEL)


def decode_row(data: bytes) -> JournalRow:
    """Undo `encode_row`; raise StorageError when the bytes are not what was written."""
    try:
        return _DECODER.decode(unseal(data))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageError(f"expected a row of the journal: {error}") from None


def seal(data: bytes, *, level: int) -> bytes:
    """Compress and put a CRC-32 in front."""
    packed = zstandard.ZstdCompressor(level=level).compress(data)
    return zlib.crc32(packed).to_bytes(CRC_BYTES, "little") + packed


def unseal(data: bytes) -> bytes:
    """Undo `seal`; raise StorageError when the checksum does not fit."""
    if not isinstance(data, bytes):  # what a damaged page says is of any type
        raise StorageError(f"expected bytes, got {type(data).__name__}")
    packed = data[CRC_BYTES:]
    if zlib.crc32(packed).to_bytes(CRC_BYTES, "little") != data[:CRC_BYTES]:
        raise StorageError(f"expected {len(data)} bytes as they were written, got damaged ones")
    try:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=MOST_BYTES)
    except zstandard.ZstdError as error:
        raise StorageError(f"expected a zstd frame: {error}") from None


def pack_events(events: Iterable[Event]) -> tuple[PackedBatch | int | str, ...]:
    """Pack events; batches behind one another become one."""
    packed: list[PackedBatch | int | str] = []
    for event in joined(events):
        match event:
            case Taken(batch):
                packed.append(pack_batch(batch))
            case Reserve(count):
                packed.append(count)
            case Tick():
                packed.append(TICK)
            case Flush():
                packed.append(FLUSH)
    return tuple(packed)


def unpack_events(
    events: Sequence[PackedBatch | int | str], asset_of: NDArray[np.int32]
) -> Iterator[Event]:
    """Undo `pack_events`; raise StorageError for columns that do not fit."""
    for event in events:
        match event:
            case PackedBatch():
                try:
                    yield Taken(unpack_batch(event, asset_of))
                except (MessageError, IndexError) as error:
                    raise StorageError(f"expected a packed batch: {error}") from None
            case int(count):
                yield Reserve(count)
            case "tick":
                yield Tick()
            case "flush":
                yield Flush()
            case other:
                raise StorageError(f"expected an event, got {other!r}")


def joined(events: Iterable[Event], *, most: int = 1 << 62) -> Iterator[Event]:
    """Yield the events with batches behind one another joined, up to about `most` frames."""
    batches: list[Batch] = []
    frames = 0
    for event in events:
        if isinstance(event, Taken):
            batches.append(event.batch)
            frames += event.batch.asset.size
            if frames < most:
                continue
        if batches:
            yield Taken(join(batches))
            batches, frames = [], 0
        if not isinstance(event, Taken):
            yield event
    if batches:
        yield Taken(join(batches))
