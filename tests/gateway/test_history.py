"""Order, ranges, clocks and the ring of rows, against plain Python."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.batch import Batch, Draft, order_of
from gateway.directory import Directory
from gateway.history import STEP_FRAMES, History
from gateway.preprocess import Clocks, preprocess

CHANNELS = "abc"


@given(st.lists(st.integers(0, 5), max_size=50))
def test_order_counts_the_frames_of_each_asset(assets: list[int]) -> None:
    order = order_of(np.array(assets, np.int32))
    seen: dict[int, int] = defaultdict(int)
    ranks = []
    for asset in assets:
        ranks.append(seen[asset])
        seen[asset] += 1
    assert order.rank.tolist() == ranks
    assert order.index.tolist() == sorted(range(len(assets)), key=lambda at: (assets[at], at))
    assert int(order.first.sum()) == len(seen)
    assert order.depth == max(ranks, default=-1) + 1


def batch_of(frames: list[tuple[int, float, dict[int, float]]]) -> Batch:
    draft = Draft()
    for asset, time_ms, values in frames:
        draft.asset.append(asset)
        draft.time_ms.append(time_ms)
        draft.width.append(len(values))
        draft.stream += values
        draft.value += values.values()
    return draft.batch()


def test_times_become_whole_microseconds() -> None:
    batch = batch_of([(0, 1773043200125.5, {0: 1.0}), (0, 0.0004, {0: 1.0})])
    assert batch.time_us.tolist() == [1773043200125500, 0]


def test_taking_frames_takes_their_readings() -> None:
    batch = batch_of([(0, 1, {0: 1.0, 1: 2.0}), (1, 2, {2: 3.0}), (0, 3, {0: 4.0})])
    kept = batch.take(np.array([True, False, True]))
    assert kept.stream.tolist() == [0, 1, 0]
    assert kept.value.tolist() == [1.0, 2.0, 4.0]
    assert batch.frame.tolist() == [0, 0, 1, 2]


def test_what_is_beyond_the_range_counts_as_missing_and_is_told() -> None:
    values = {0: math.nan, 1: 1e18, 2: -1.1e18, 3: math.inf, 4: 1e308, 5: -0.0}
    batch = batch_of([(0, 1, values)])
    clocks = Clocks()
    clocks.hold(1)
    checked = preprocess(clocks, batch, order_of(batch.asset))
    assert checked.missing == 1
    assert checked.refused.tolist() == [2, 3, 4]
    assert np.isnan(checked.batch.value).tolist() == [True, False, True, True, True, False]
    assert np.abs(checked.batch.value[1]).astype(np.float32) ** 2 < np.inf


def test_time_runs_backward_against_the_frame_before_across_batches() -> None:
    clocks = Clocks()
    clocks.hold(2)
    times = [[(0, 10), (1, 5), (0, 9), (0, 9)], [(1, 5), (0, 12), (1, 4)], [(0, 11)]]
    found = []
    for part in times:
        batch = batch_of([(asset, time, {asset: 1.0}) for asset, time in part])
        found.append(preprocess(clocks, batch, order_of(batch.asset)).backward.tolist())
    assert found == [[False, False, True, False], [False, False, True], [True]]


class NaiveHistory:
    """All rows of every asset as lists."""

    def __init__(self) -> None:
        self.rows: dict[int, list[tuple[int, dict[int, float]]]] = defaultdict(list)
        self.first: dict[int, float] = {}

    def append(self, asset: int, time_us: int, values: dict[int, float]) -> None:
        self.rows[asset].append((time_us, values))
        for stream, value in values.items():
            if not math.isnan(value):
                self.first.setdefault(stream, value)

    def held(self, asset: int, stream: int, number: int) -> float:
        """Value at a row: the last one so far, before that the first that came."""
        past = self.rows[asset][: max(number, 0) + 1] if number >= 0 else []
        known = [row[stream] for _, row in past if stream in row and not math.isnan(row[stream])]
        return known[-1] if known else self.first.get(stream, 0.0)

    def state(self, asset: int, stream: int, number: int) -> int:
        if number < 0:
            return 0
        value = self.rows[asset][number][1].get(stream)
        return 0 if value is None else 2 if math.isnan(value) else 1


frames = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.dictionaries(
            st.sampled_from(CHANNELS),
            st.one_of(st.floats(-1e6, 1e6, width=32), st.just(math.nan)),
            min_size=1,
        ),
    ),
    min_size=1,
    max_size=120,
)


@settings(deadline=None, max_examples=60)
@given(frames=frames, rows=st.integers(1, 40), size=st.integers(1, STEP_FRAMES))
def test_windows_masks_and_rows_are_those_of_plain_lists(
    frames: list[tuple[int, dict[str, float]]], rows: int, size: int
) -> None:
    directory, history, naive = Directory(), History(rows), NaiveHistory()
    for asset in range(3):
        directory.asset(f"x{asset}")
    for first in range(0, len(frames), size):
        part = [
            (asset, 1.0 * (first + at), {directory.stream(asset, c): v for c, v in row.items()})
            for at, (asset, row) in enumerate(frames[first : first + size])
        ]
        history.hold(directory)
        batch = batch_of(part)
        numbers = history.append(batch, order_of(batch.asset), directory)
        for at, (asset, time_ms, values) in enumerate(part):
            assert numbers[at] == len(naive.rows[asset])
            naive.append(asset, int(time_ms * 1000), values)
    for asset in range(3):
        compare(history, naive, directory, asset, rows)


def compare(
    history: History, naive: NaiveHistory, directory: Directory, asset: int, rows: int
) -> None:
    streams, count = directory.streams_of[asset], len(naive.rows[asset])
    assert history.frames[asset] == count
    if not streams:
        return
    last = np.array([count - 1])
    window = history.window(np.array([streams]), last, rows=rows)[0]
    mask = history.mask(np.array([streams]), last, rows=rows)[0]
    numbers = range(count - rows, count)
    expected = [[naive.held(asset, stream, at) for stream in streams] for at in numbers]
    seen = [[naive.state(asset, stream, at) for stream in streams] for at in numbers]
    assert window.tolist() == expected
    assert mask.tolist() == [[float(state == 1) for state in row] for row in seen]
    first = max(0, count - rows)
    times_us, values = history.rows_of(asset, streams, first, count)
    assert times_us.tolist() == [time for time, _ in naive.rows[asset][first:]]
    for at, row in enumerate(values):
        for column, stream in enumerate(streams):
            given = naive.rows[asset][first + at][1].get(stream, math.nan)
            assert row[column] == given or (math.isnan(row[column]) and math.isnan(given))
    nulls = history.nulls_of(streams, first, count)
    kept = seen[rows - (count - first) :] if count else []
    assert nulls.tolist() == [
        sum(row[column] == 2 for row in kept) for column in range(len(streams))
    ]


def test_a_newcomer_is_a_stream_with_its_first_value() -> None:
    directory, history = Directory(), History(8)
    a, b = (directory.stream(directory.asset("x"), name) for name in "ab")
    history.hold(directory)
    batch = batch_of([(0, 1, {a: 1.0, b: math.nan}), (0, 2, {a: 2.0}), (0, 3, {b: 3.0})])
    assert history.newcomers(batch).tolist() == [0, 3]
    history.append(batch, order_of(batch.asset), directory)
    assert history.born[:2].tolist() == [0, 2]
    assert history.newcomers(batch).tolist() == []


@pytest.mark.parametrize("assets", [1, 300])
def test_arrays_grow_and_keep_what_they_hold(assets: int) -> None:
    directory, history = Directory(), History(4)
    for index in range(assets):
        stream = directory.stream(directory.asset(f"x{index}"), "a")
        history.hold(directory)
        batch = batch_of([(index, 1, {stream: float(index)})])
        history.append(batch, order_of(batch.asset), directory)
    assert [history.values[stream, 0] for stream in range(assets)] == list(range(assets))
    assert (history.born[:assets] == 0).all()
