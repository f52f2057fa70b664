"""Columns as byte planes: exact, strict about lengths, documented byte by byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wire import columns
from wire.errors import MessageError

DTYPES = ["u1", "<u2", "<u4", "<f4", "<i8", "<f8"]
LAST, FIRST = 2**63 - 1, -(2**63)
any_column = st.sampled_from(DTYPES).flatmap(lambda kind: hnp.arrays(kind, st.integers(0, 300)))


@given(any_column)
def test_a_column_comes_back_bit_for_bit(column: np.ndarray) -> None:
    data = columns.pack(column, column.dtype.str)
    back = columns.unpack(data, column.dtype.str, count=column.size, what="column")
    assert back.dtype == column.dtype
    assert back.tobytes() == column.tobytes()
    assert back.flags.writeable


@given(hnp.arrays(np.int64, st.integers(0, 300)))
def test_times_come_back_exactly_at_any_distance(times: np.ndarray) -> None:
    back = columns.unpack_times(columns.pack_times(times), count=times.size, what="times")
    np.testing.assert_array_equal(back, times)


def test_differences_wrap_at_the_ends_of_int64() -> None:
    times = np.array([LAST, FIRST, 0, FIRST, LAST, LAST])
    back = columns.unpack_times(columns.pack_times(times), count=6, what="times")
    np.testing.assert_array_equal(back, times)


def test_the_layout_is_low_bytes_first_plane_by_plane() -> None:
    assert columns.pack(np.array([0x0102, 0x0304], np.uint16), "<u2").hex() == "02040103"
    assert columns.pack_times(np.array([1, 3])).hex() == "0102" + "0000" * 7


def test_every_second_number_of_an_array_packs_like_a_copy() -> None:
    column = np.arange(10, dtype=np.uint32)[::2]
    assert columns.pack(column, "<u4") == columns.pack(column.copy(), "<u4")


@given(any_column, st.integers(-3, 3).filter(bool))
def test_another_length_is_refused(column: np.ndarray, off: int) -> None:
    data = columns.pack(column, column.dtype.str)
    count = max(column.size + off, 0) if column.size else 3
    words = f"low: expected {count * column.itemsize}, got {len(data)}"
    with pytest.raises(MessageError, match=words):
        columns.unpack(data, column.dtype.str, count=count, what="low")


@pytest.mark.parametrize("number", [-1, 65_536, 2**40])
def test_an_integer_that_does_not_fit_is_refused_not_wrapped(number: int) -> None:
    with pytest.raises(MessageError, match=f"expected integers of uint16, got .*{number}"):
        columns.pack(np.array([1, number]), "<u2")
