"""Periods, knots, sketches, summaries, blocks: against plain Python, numpy and their own words."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gateway.batch import Batch
from gateway.directory import Directory
from gateway.preprocess import LARGEST
from gateway.summary.block import BlockDraft
from gateway.summary.knots import MAX_KNOTS, choose_bound, reconstruct, trend
from gateway.summary.periods import Closed, Periods
from gateway.summary.summarise import summarise
from tests.gateway.streams import Frame, feed, machine, take
from wire.blocks import SKETCH_POINTS, decode_summaries, encode_summaries
from wire.sketch import QuantileSketch

PERIOD_US = 10_000_000


class NaivePeriods:
    """One asset, one frame at a time."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most, self.first, self.number, self.index = least, most, 0, 0, 0

    def step(self, time_us: int, *, backward: bool) -> tuple[int, int] | None:
        index, rows, closed = time_us // PERIOD_US, self.number - self.first, None
        left = index != self.index and rows >= self.least
        if rows and (left or rows >= self.most or backward):
            closed = (self.first, self.number)
            self.first = self.number
        if self.first == self.number:
            self.index = index
        self.number += 1
        return closed

    def flush(self) -> tuple[int, int] | None:
        closed = (self.first, self.number) if self.number > self.first else None
        self.first = self.number
        return closed


@settings(deadline=None)
@given(
    steps=st.lists(
        st.one_of(st.sampled_from([1, 2, 11, -3, -25, 0]), st.just("flush")), max_size=80
    ),
    least=st.integers(1, 5),
    extra=st.integers(0, 8),
    size=st.integers(1, 9),
)
@example(steps=[70, "flush", -15, 12], least=1, extra=4, size=9)
def test_periods_end_where_a_walk_through_the_frames_ends_them(
    steps: list[int | str], least: int, extra: int, size: int
) -> None:
    periods, naive = Periods(PERIOD_US, least, least + extra), NaivePeriods(least, least + extra)
    clock, found, expected, waiting = 1000, [], [], []
    for step in [*steps, "flush"]:
        if step == "flush" or len(waiting) == size:
            found += walk(periods, waiting, naive.number)
            for time_us, backward in waiting:
                expected += [naive.step(time_us, backward=backward)]
            waiting = []
        if step == "flush":
            found += [
                (one.first, one.last) for one in periods.flush(np.array([naive.number, 0, 0, 0]))
            ]
            expected += [naive.flush()]
            continue
        clock += int(step)
        waiting.append((clock * 1_000_000, int(step) < 0))
    assert found == [closed for closed in expected if closed]


def walk(periods: Periods, frames: list[tuple[int, bool]], number: int) -> list[tuple[int, int]]:
    if not frames:
        return []
    count = len(frames)
    batch = Batch(
        np.zeros(count, np.int32),
        np.array([time_us for time_us, _ in frames]),
        np.ones(count, np.int32),
        np.zeros(count, np.int32),
        np.zeros(count),
    )
    backward = np.array([turned for _, turned in frames])
    closed = periods.step(batch, number + np.arange(count), backward, np.zeros(1))
    assert [one.at for one in closed] == [one.last - number for one in closed]
    return [(one.first, one.last) for one in closed]


def test_the_phase_spreads_the_ends_of_periods() -> None:
    ends = set()
    for phase in (0.0, 0.25, 0.5, 0.75):
        periods = Periods(PERIOD_US, 1, 1000)
        frames = [(at * 1_000_000, False) for at in range(20)]
        count = len(frames)
        batch = Batch(
            np.zeros(count, np.int32),
            np.array([time_us for time_us, _ in frames]),
            np.ones(count, np.int32),
            np.zeros(count, np.int32),
            np.zeros(count),
        )
        closed = periods.step(batch, np.arange(count), np.zeros(count, bool), np.array([phase]))
        assert all(isinstance(one, Closed) for one in closed)
        ends.add(closed[0].last)
    assert len(ends) == 4


# Knots

magnitudes = st.sampled_from([1e-40, 1e-6, 1.0, 1e6, 1e17])


@st.composite
def readings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Times that never fall, and values: noise, steps, constants, ramps of any size."""
    size = draw(st.integers(1, 200))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    gaps = rng.choice(draw(st.sampled_from([[0], [1], [0, 1_000_000], [0, 1, 10**12]])), size)
    shape = draw(st.sampled_from(["noise", "steps", "constant", "ramp", "spike", "given"]))
    base = {
        "noise": rng.standard_normal(size),
        "steps": np.repeat(rng.standard_normal(size // 9 + 1), 9)[:size],
        "constant": np.full(size, 3.7),
        "ramp": np.arange(size) / 7,
        "spike": np.where(np.arange(size) == size // 2, 1e6, 0.1),
        "given": draw(arrays.arrays(np.float64, size, elements=st.floats(-1, 1))),
    }[shape]
    values = (base * draw(magnitudes) + draw(magnitudes)).astype(np.float32)
    return draw(st.integers(0, 10**15)) + np.cumsum(gaps), values.clip(-LARGEST, LARGEST)


@settings(deadline=None, max_examples=300)
@given(readings())
@example((np.zeros(9, np.int64), np.arange(9, dtype=np.float32)))
@example((np.arange(3) * 1_000_000, np.full(3, 16777217, np.float32)))
@example((np.arange(200) * 7, np.float32(1e6) + np.sin(np.arange(200)).astype(np.float32) / 8))
def test_every_reading_lies_within_the_stated_bound(
    given: tuple[np.ndarray, np.ndarray],
) -> None:
    times_us, values = given
    knots, bound = trend(times_us, values)
    assert 1 <= knots.size <= MAX_KNOTS
    assert knots[0] == 0
    assert knots[-1] == values.size - 1
    assert (np.diff(knots) > 0).all()
    since_us = times_us - times_us[0]
    line = reconstruct(since_us, since_us[knots], values[knots])
    assert (np.abs(values.astype(np.float64) - line) <= bound).all()
    other = another_line(since_us, since_us[knots], values[knots].astype(np.float64))
    assert (np.abs(values.astype(np.float64) - other) <= bound).all()
    assert math.isfinite(bound)


def another_line(at_us: np.ndarray, knot_us: np.ndarray, knot_value: np.ndarray) -> np.ndarray:
    """A reader's own interpolation, from the right end; of knots at one time the last counts."""
    right = np.searchsorted(knot_us, at_us, side="right").clip(max=knot_us.size - 1)
    left = (right - 1).clip(min=0)
    gap = knot_us[right] - knot_us[left]
    rest = np.where(gap > 0, (knot_us[right] - at_us) / np.maximum(gap, 1), 0.0)
    return knot_value[right] - rest * (knot_value[right] - knot_value[left])


def test_a_smooth_line_takes_few_knots_and_noise_does_not_widen_its_bound_beyond_four_sigma() -> (
    None
):
    times_us = np.arange(256) * 1_000_000
    knots, bound = trend(times_us, (np.arange(256) * 0.5).astype(np.float32))
    assert knots.tolist() == [0, 255]
    assert bound < 0.01
    noise = np.random.default_rng(1).standard_normal(256)
    assert choose_bound(noise) == pytest.approx(4.0, rel=0.3)


# Summaries


def one_stream(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(values.size) * 1_000_000 + 5, values.astype(np.float32)[:, None]


@settings(deadline=None, max_examples=60)
@given(readings())
def test_a_summary_says_what_numpy_says(given: tuple[np.ndarray, np.ndarray]) -> None:
    times_us, values = given
    kept, rows = summarise(times_us, values[:, None], np.array([7]))
    exact = values.astype(np.float64)
    assert kept == [0]
    assert (rows.count[0], rows.missing[0]) == (values.size, 7)
    assert (rows.low[0], rows.high[0]) == (values.min(), values.max())
    assert (rows.first[0], rows.last[0]) == (values[0], values[-1])
    assert (rows.start_us[0], rows.end_us[0]) == (times_us[0], times_us[-1])
    assert rows.mean[0] == np.float32(exact.mean())
    assert rows.variance[0] == pytest.approx(min(exact.var(), 3.4028234e38), rel=1e-6)
    assert rows.knot_us.size == rows.knot_value.size == rows.knots[0]
    assert np.isfinite([rows.variance[0], rows.error[0]]).all()


@settings(deadline=None, max_examples=100)
@given(arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1e6, 1e6, width=32)))
def test_sketch_bytes_give_quantiles_of_the_right_rank(values: np.ndarray) -> None:
    _, rows = summarise(*one_stream(values), np.zeros(1, np.int64))
    low, high = float(rows.low[0]), float(rows.high[0])
    span = high - low
    points = low + rows.sketch[0] / 255 * span
    sketch = QuantileSketch.from_points(points, count=values.size)
    slack = span / 255 + 1e-6 * max(abs(low), abs(high))
    for level in (0.05, 0.25, 0.5, 0.75, 0.95):
        share = 1.5 / SKETCH_POINTS + 1 / values.size
        around = [min(max(level + side * share, 0), 1) for side in (-1, 1)]
        lowest, highest = np.quantile(values.astype(np.float64), around)
        assert lowest - slack <= sketch.quantile(level) <= highest + slack


def test_streams_without_a_reading_have_no_summary() -> None:
    values = np.full((4, 3), np.nan, np.float32)
    values[1:, 1] = [1, 2, 3]
    kept, rows = summarise(np.arange(4) * 10, values, np.array([4, 1, 0]))
    assert kept == [1]
    assert rows.missing.tolist() == [1]
    assert rows.start_us.tolist() == [10]
    assert summarise(np.arange(4), np.full((4, 2), np.nan, np.float32), np.zeros(2, int))[0] == []


def test_a_block_numbers_assets_and_channels_and_survives_the_wire() -> None:
    directory, draft = Directory(), BlockDraft("g1", full=4)
    for asset in ("x", "y"):
        for channel in ("a", "b"):
            directory.stream(directory.asset(asset), channel)
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    for asset in (1, 0):
        draft.add(asset, *summarise(np.arange(4) * 1000, values, np.zeros(2, int)), directory)
    nothing = summarise(np.arange(4), np.full((4, 2), np.nan, np.float32), np.zeros(2, int))
    draft.add(0, *nothing, directory)
    assert draft.count == 4
    block = draft.take()
    assert block is not None
    assert draft.take() is None
    found = decode_summaries(encode_summaries(dataclasses.replace(block, epoch="e", seq=1)))
    assert found.assets == ("y", "x")
    named = [
        (found.assets[asset], found.channels[channel])
        for asset, channel in zip(found.rows.asset, found.rows.channel, strict=True)
    ]
    assert named == [("y", "a"), ("y", "b"), ("x", "a"), ("x", "b")]


def test_only_null_counts_as_missing_not_what_a_message_leaves_out() -> None:
    pipeline = machine()
    frames = [Frame("x", 1000.0 * at, {"ab"[at % 2]: 1.0 + at}) for at in range(8)]
    frames += [Frame("x", 8000.0, {"a": None, "b": 1.0})]
    run = feed(pipeline, frames)
    take(run, pipeline, pipeline.flush())
    (payload,) = run.summaries
    rows = decode_summaries(payload).rows
    assert rows.count.tolist() == [4, 5]
    assert rows.missing.tolist() == [1, 0]


def test_all_rows_are_summarised_once_whatever_the_clock_does() -> None:
    pipeline = machine()
    rng = np.random.default_rng(4)
    times = np.cumsum(rng.choice([1000.0, 1000.0, -4e10, 4e10], 300)) + 2e12
    frames = [Frame("x", float(time), {"a": float(at)}) for at, time in enumerate(times)]
    run = feed(pipeline, frames)
    take(run, pipeline, pipeline.flush())
    blocks = [decode_summaries(payload).rows for payload in run.summaries]
    assert sum(int(rows.count.sum()) for rows in blocks) == 300
    assert all((rows.start_us <= rows.end_us).all() for rows in blocks)
    assert run.counts[2] == int((np.diff(times) < 0).sum())
