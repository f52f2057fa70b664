from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.pacing import SpeedError, merged, parse_speed
from sensors.recording import Channel, Chunk, Recording, recording_of

TIMES = st.lists(st.integers(-(10**9), 10**15), min_size=1, max_size=30)


def timed(asset: str, times_us: list[int]) -> Recording:
    values = np.arange(len(times_us), dtype=np.float64)[:, None]
    chunk = Chunk(np.array(times_us, np.int64), values)
    return recording_of(chunk, asset=asset, channels=(Channel("x"),), origin="test")


@pytest.mark.parametrize(
    ("text", "factor"), [("1x", 1), ("100x", 100), ("0.5x", 0.5), ("max", math.inf)]
)
def test_speeds(text: str, factor: float) -> None:
    assert parse_speed(text) == factor


@pytest.mark.parametrize("text", ["", "x", "0x", "-1x", "fast", "1", "infx", "nanx", "1e3x"])
def test_other_speeds_are_refused(text: str) -> None:
    with pytest.raises(SpeedError, match="expected max or a factor"):
        parse_speed(text)


def test_recordings_run_side_by_side_from_their_own_start() -> None:
    first = timed("a", [0, 10_000_000, 20_000_000])
    years_later = timed("b", [10**15, 10**15 + 5_000_000, 10**15 + 15_000_000])
    due = [(item.due_s, item.source) for item in merged([first, years_later], speed=10.0)]
    assert due == [(0, 0), (0, 1), (0.5, 1), (1, 0), (1.5, 1), (2, 0)]


def test_a_row_whose_time_goes_back_is_due_with_the_row_before() -> None:
    items = list(merged([timed("a", [0, 8_000_000, 3_000_000, 9_000_000])], speed=1.0))
    assert [item.due_s for item in items] == [0, 8, 8, 9]
    assert [item.row.t_us for item in items] == [0, 8_000_000, 3_000_000, 9_000_000]


@given(several=st.lists(TIMES, min_size=1, max_size=4))
def test_every_row_once_in_its_order_and_due_never_falls(several: list[list[int]]) -> None:
    items = list(merged([timed("a", times) for times in several], speed=2.0))
    for source, times in enumerate(several):
        mine = [item.row for item in items if item.source == source]
        assert [row.t_us for row in mine] == times
        assert [row.values for row in mine] == [[float(n)] for n in range(len(times))]
    due = [item.due_s for item in items]
    assert due == sorted(due)


def test_at_full_speed_recordings_still_take_turns() -> None:
    both = [timed("a", [0, 1_000_000, 2_000_000]), timed("b", [7, 1_000_007, 2_000_007])]
    items = list(merged(both, speed=math.inf))
    assert [item.source for item in items] == [0, 1, 0, 1, 0, 1]
    assert {item.due_s for item in items} == {0.0}
