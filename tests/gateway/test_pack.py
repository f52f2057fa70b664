"""Columns of the journal give back the bits that went in; damage is told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.batch import Batch
from gateway.durable.events import Flush, Reserve, Taken, Tick
from gateway.durable.head import Head, HeadFile
from gateway.durable.journal import (
    JournalRow,
    decode_row,
    encode_row,
    pack_events,
    unpack_events,
)
from gateway.durable.pack import pack_values, unpack_values
from gateway.errors import StorageError

FLOATS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=False),
    st.integers(-(10**9), 10**9).map(lambda n: n / 10_000),
    st.sampled_from([0.0, -0.0, 1e-300, 2.0**31, 5e8, 0.1]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FLOATS, max_size=40))
def test_values_come_back_bit_for_bit(values: list[float]) -> None:
    given_ = np.array(values, np.float64)
    back = unpack_values(pack_values(given_), given_.size)
    known = ~np.isnan(given_)
    assert back[known].tobytes() == given_[known].tobytes()
    assert np.isnan(back[~known]).all()


def batch(frames: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    width = rng.integers(1, 4, frames).astype(np.int32)
    asset = rng.integers(0, 5, frames).astype(np.int32)
    stream = np.concatenate([4 * a + np.arange(w) for a, w in zip(asset, width, strict=True)])
    return Batch(
        asset,
        rng.integers(-(10**6), 2 * 10**15, frames),
        width,
        stream.astype(np.int32),
        np.round(rng.normal(size=int(width.sum())), 3),
        rng.integers(0, 9, frames),
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_row_of_the_journal_comes_back(seed: int) -> None:
    first, second = batch(7, seed), batch(3, seed + 100)
    events = [Taken(first), Taken(second), Tick(), Reserve(3), Flush(), Taken(second)]
    row = JournalRow((0, 0), (), (), pack_events(events), (), (), (), {"a": 1}, {"bulk": 2}, {}, 5)
    again = decode_row(encode_row(row))
    assert dataclasses.is_dataclass(first)
    asset_of = np.repeat(np.arange(5, dtype=np.int32), 4)
    back = list(unpack_events(again.events, asset_of))
    assert [type(event) for event in back] == [Taken, Tick, Reserve, Flush, Taken]
    joined = back[0].batch  # type: ignore[union-attr]
    for name in ("asset", "time_us", "width", "stream", "value", "seq"):
        whole = np.concatenate([getattr(first, name), getattr(second, name)])
        assert getattr(joined, name).tobytes() == whole.tobytes()


def test_any_changed_byte_of_a_row_is_noticed() -> None:
    row = JournalRow((0, 0), ("a",), (), (), (), (), (), {}, {}, {}, 5)
    data = encode_row(row)
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 4
        with pytest.raises(StorageError, match="expected"):
            decode_row(bytes(broken))
    with pytest.raises(StorageError, match="expected"):
        decode_row(data[:-1])


def test_the_head_is_read_back_and_damage_makes_it_none(tmp_path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    path = tmp_path / "gateway.head"
    head = Head("e1", 7, {"bulk": 3}, {"bulk": 2})
    file = HeadFile(path)
    assert file.read() is None
    file.write(head)
    assert file.read() == head
    file.write(Head("e" * 600, 8, {}, {}))  # too large: the old one stays
    assert file.read() == head
    file.close()
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(bytes(data))
    file = HeadFile(path)
    assert file.read() is None
    file.close()
