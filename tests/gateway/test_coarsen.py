"""Coarse summaries: against the readings that the fine ones were made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.summary.coarsen import coarsen, readings_of
from gateway.summary.knots import MAX_KNOTS, reconstruct
from gateway.summary.summarise import summarise
from wire.blocks import (
    SKETCH_POINTS,
    SummaryBlock,
    SummaryColumns,
    concatenate,
    decode_summaries,
    encode_summaries,
)
from wire.errors import MessageError
from wire.sketch import QuantileSketch

SECOND = 1_000_000
YEAR = 31_557_600 * SECOND


@dataclass
class Piece:
    """Rows of one asset that become one summary a channel; NaN = no reading."""

    asset: str
    channels: list[str]
    times_us: np.ndarray
    values: np.ndarray
    nulls: np.ndarray


@dataclass
class Run:
    """What one coarse summary has to stand for."""

    stream: tuple[str, str]
    times_us: list[np.ndarray] = field(default_factory=list)
    values: list[np.ndarray] = field(default_factory=list)
    missing: int = 0


def block_of(pieces: Sequence[Piece], seq: int) -> SummaryBlock:
    assets: dict[str, int] = {}
    channels: dict[str, int] = {}
    parts = []
    for piece in pieces:
        kept, rows = summarise(piece.times_us, piece.values, piece.nulls)
        asset = assets.setdefault(piece.asset, len(assets))
        places = [channels.setdefault(piece.channels[at], len(channels)) for at in kept]
        numbers = np.full(len(kept), asset, np.uint16), np.array(places, np.uint16)
        parts.append(replace(rows, asset=numbers[0], channel=numbers[1]))
    names = tuple(assets), tuple(channels)
    return SummaryBlock("g", f"e{seq}", seq, *names, concatenate(parts))


def runs_of(pieces: Sequence[Piece]) -> list[Run]:
    runs: list[Run] = []
    latest: dict[tuple[str, str], Run] = {}
    for piece in pieces:
        for at, channel in enumerate(piece.channels):
            present = ~np.isnan(piece.values[:, at])
            if not present.any():
                continue
            stream, times_us = (piece.asset, channel), piece.times_us[present]
            if stream not in latest or times_us[0] < latest[stream].times_us[-1][-1]:
                latest[stream] = Run(stream)
                runs.append(latest[stream])
            latest[stream].times_us.append(times_us)
            latest[stream].values.append(piece.values[present, at])
            latest[stream].missing += int(piece.nulls[at])
    return runs


@st.composite
def pieces(draw: st.DrawFn) -> Piece:
    """Times from 0 that never fall; noise, steps, ramps, spikes, constants of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    size, channels = draw(st.integers(1, 60)), draw(st.permutations(["a", "b", "c"]))
    gaps = draw(st.sampled_from([[0], [SECOND], [0, SECOND], [0, 1, 10**12], [0, 0, 0, 7]]))
    shapes = {
        "noise": rng.standard_normal((size, 3)),
        "walk": np.cumsum(rng.standard_normal((size, 3)), 0),
        "ramp": np.arange(size)[:, None] / np.array([3, 7, -2]),
        "spike": np.where(rng.random((size, 3)) < 0.1, 1e6, 0.1),
        "constant": np.full((size, 3), 3.7),
    }
    scale, offset = (draw(st.sampled_from([1e-40, 1e-6, 1.0, 1e6, 1e17])) for _ in range(2))
    values = (shapes[draw(st.sampled_from(sorted(shapes)))] * scale + offset).clip(-1e18, 1e18)
    holes = rng.random((size, 3)) < draw(st.sampled_from([0, 0.3])) * np.arange(3)
    values[holes] = np.nan
    times_us = np.cumsum(rng.choice(gaps, size))
    asset = draw(st.sampled_from(["x", "x", "y"]))
    return Piece(asset, channels, times_us, values.astype(np.float32), rng.integers(0, 9, 3))


@st.composite
def histories(draw: st.DrawFn) -> list[list[Piece]]:
    """Pieces by block; the clock goes on, stands still or runs backward between them."""
    clock, blocks = draw(st.integers(0, 10**15)), []
    for size in draw(st.lists(st.integers(1, 4), min_size=1, max_size=6)):
        blocks.append([draw(pieces()) for _ in range(size)])
        for piece in blocks[-1]:
            clock += draw(st.sampled_from([0, 0, SECOND, SECOND, 10**10, -1, -YEAR]))
            piece.times_us += clock
            clock = int(piece.times_us[-1])
    return blocks


def blocks_of(history: list[list[Piece]]) -> list[SummaryBlock]:
    return [block_of(part, seq) for seq, part in enumerate(history, 1)]


def flat(history: list[list[Piece]]) -> list[Piece]:
    return [piece for part in history for piece in part]


def names_of(block: SummaryBlock) -> list[tuple[str, str]]:
    numbers = zip(block.rows.asset.tolist(), block.rows.channel.tolist(), strict=True)
    return [(block.assets[asset], block.channels[channel]) for asset, channel in numbers]


def knots_of(rows: SummaryColumns) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    ends = np.cumsum(rows.knots.astype(int))
    for begin, end in zip(ends - rows.knots, ends, strict=True):
        yield rows.knot_us[begin:end], rows.knot_value[begin:end]


def assert_stands_for(block: SummaryBlock, runs: list[Run], *, merges: int) -> None:
    """Check every column against the readings; `merges` is how often they were merged."""
    rows = block.rows
    assert names_of(block) == [run.stream for run in runs]
    for at, (run, knots) in enumerate(zip(runs, knots_of(rows), strict=True)):
        times_us, values = np.concatenate(run.times_us), np.concatenate(run.values)
        assert (rows.count[at], rows.missing[at]) == (values.size, run.missing)
        assert (rows.start_us[at], rows.end_us[at]) == (times_us[0], times_us[-1])
        assert (rows.low[at], rows.high[at]) == (values.min(), values.max())
        assert (rows.first[at], rows.last[at]) == (values[0], values[-1])
        assert_moments(rows.mean[at], rows.variance[at], values.astype(float), merges)
        assert_line(knots, run, float(rows.error[at]))
        assert_quantiles(rows.sketch[at], values.astype(float), merges)


def assert_moments(mean: float, variance: float, exact: np.ndarray, merges: int) -> None:
    """Each rounding to float32 shifts a part's mean by half a unit in its last place."""
    off = (merges + 1) * (2.0**-24 * np.abs(exact).max() + 1e-45)
    assert abs(mean - exact.mean()) <= off
    slack = 2 * off * np.ptp(exact) + off**2 + (merges + 1) * (2.0**-24 * exact.var() + 1e-45)
    assert abs(variance - exact.var()) <= slack


def assert_line(knots: tuple[np.ndarray, np.ndarray], run: Run, bound: float) -> None:
    """Every reading lies within the bound, for our reader and for one that goes by the right."""
    knot_us, knot_value = knots
    times_us = np.concatenate(run.times_us)
    exact = np.concatenate(run.values).astype(float)
    since_us = times_us - times_us[0]
    assert 1 <= knot_us.size <= MAX_KNOTS
    assert (knot_us[0], knot_us[-1]) == (0, since_us[-1])
    assert (np.diff(knot_us) >= 0).all()
    assert np.isfinite(bound)
    assert (np.abs(exact - reconstruct(since_us, knot_us, knot_value)) <= bound).all()
    right = np.searchsorted(knot_us, since_us, side="right").clip(max=knot_us.size - 1)
    left, value = (right - 1).clip(min=0), knot_value.astype(float)
    gap = knot_us[right] - knot_us[left]
    rest = np.where(gap > 0, (knot_us[right] - since_us) / np.maximum(gap, 1), 0.0)
    other = value[right] - rest * (value[right] - value[left])
    assert (np.abs(exact - other) <= bound).all()


def assert_quantiles(points: np.ndarray, exact: np.ndarray, merges: int) -> None:
    """Each merge may shift a rank by a point or so, and a value by one 1/255 of the range."""
    low, high = exact.min(), exact.max()
    levels = (np.arange(SKETCH_POINTS) + 0.5) / SKETCH_POINTS
    share = merges * (1.5 / SKETCH_POINTS + 1 / exact.size)
    ordered = np.sort(exact)
    lowest = ordered[np.floor((levels - share).clip(0, 1) * (exact.size - 1)).astype(int)]
    highest = ordered[np.ceil((levels + share).clip(0, 1) * (exact.size - 1)).astype(int)]
    slack = (merges + 1) * (high - low) / 510 + 1e-6 * np.abs(exact).max()
    found = low + points / 255 * (high - low)
    assert (np.diff(points.astype(int)) >= 0).all()
    assert (found >= lowest - slack).all()
    assert (found <= highest + slack).all()


def assert_same(one: SummaryColumns, other: SummaryColumns) -> None:
    for column in fields(SummaryColumns):
        a, b = getattr(one, column.name), getattr(other, column.name)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), column.name


@settings(deadline=None, max_examples=200)
@given(histories())
def test_a_coarse_summary_stands_for_every_reading(history: list[list[Piece]]) -> None:
    blocks = blocks_of(history)
    found = coarsen(blocks)
    assert_stands_for(found, runs_of(flat(history)), merges=1)
    assert readings_of(found) == sum(readings_of(block) for block in blocks)
    assert (found.gateway, found.epoch, found.seq) == ("g", f"e{len(blocks)}", len(blocks))
    assert_same(found.rows, coarsen(blocks).rows)


@settings(deadline=None, max_examples=100)
@given(st.lists(histories(), min_size=2, max_size=4))
def test_coarse_blocks_can_be_coarsened_again(parts: list[list[list[Piece]]]) -> None:
    coarse = [coarsen(blocks_of(part)) for part in parts]
    found = coarsen(coarse)
    whole = runs_of([piece for part in parts for piece in flat(part)])
    assert readings_of(found) == sum(readings_of(block) for block in coarse)
    assert sorted(names_of(found)) == sorted(run.stream for run in whole)
    by_stream = sorted(range(len(whole)), key=lambda at: names_of(found)[at])
    expected = sorted(whole, key=lambda run: run.stream)
    assert_stands_for(picked(found, by_stream), expected, merges=2)


def picked(block: SummaryBlock, order: list[int]) -> SummaryBlock:
    knots = list(knots_of(block.rows))
    chosen = {
        column.name: getattr(block.rows, column.name)[order]
        for column in fields(SummaryColumns)
        if not column.name.startswith("knot_")
    }
    knot_us, knot_value = (np.concatenate([knots[at][side] for at in order]) for side in (0, 1))
    rows = SummaryColumns(**chosen, knot_us=knot_us, knot_value=knot_value)
    return replace(block, rows=rows)


@settings(deadline=None, max_examples=60)
@given(histories())
def test_the_result_survives_the_wire(history: list[list[Piece]]) -> None:
    found = coarsen(blocks_of(history))
    read = decode_summaries(encode_summaries(found))
    assert_same(read.rows, found.rows)
    assert (read.assets, read.channels) == (found.assets, found.channels)


@settings(deadline=None, max_examples=60)
@given(pieces())
def test_summaries_that_stay_alone_stay_as_they_were(piece: Piece) -> None:
    block = block_of([piece, replace(piece, asset="z")], 3)
    found = coarsen([block])
    assert_same(found.rows, block.rows)
    assert (found.assets, found.channels) == (block.assets, block.channels)


def wave(seq: int, channels: Sequence[str], *, start_us: int | None = None) -> Piece:
    """256 readings a channel: a slow wave under noise that differs from piece to piece."""
    at = np.arange(256) + 256 * seq
    noise = np.random.default_rng(seq).standard_normal((256, len(channels)))
    values = np.sin(at / 200)[:, None] * np.arange(1, len(channels) + 1) + noise / 10
    times_us = np.arange(256) * SECOND + (256 * seq * SECOND if start_us is None else start_us)
    nulls = np.zeros(len(channels), np.int64)
    return Piece("x", list(channels), times_us, values.astype(np.float32), nulls)


def test_channels_meet_by_name_whatever_their_numbers() -> None:
    sets = [["a", "b"], ["b", "c"], ["c", "b", "a"], ["d"]]
    parts = [wave(seq, channels) for seq, channels in enumerate(sets)]
    found = coarsen([block_of([part], seq + 1) for seq, part in enumerate(parts)])
    assert names_of(found) == [("x", name) for name in "abcd"]
    assert found.rows.count.tolist() == [512, 768, 512, 256]
    assert_stands_for(found, runs_of(parts), merges=1)


def test_a_time_that_runs_backward_begins_a_summary_and_one_that_stands_still_does_not() -> None:
    starts = [1000 * SECOND, 1255 * SECOND, 1509 * SECOND, 7000 * SECOND]
    parts = [wave(seq, ["a"], start_us=start_us) for seq, start_us in enumerate(starts)]
    found = coarsen([block_of([part], seq + 1) for seq, part in enumerate(parts)])
    assert found.rows.start_us.tolist() == [1000 * SECOND, 1509 * SECOND]
    assert found.rows.count.tolist() == [512, 512]


@pytest.mark.parametrize("column", ["count", "missing"])
def test_a_count_that_passes_uint32_begins_a_summary(column: str) -> None:
    sizes = [2**31, 2**31 - 1, 1, 5]
    blocks = [block_of([wave(seq, ["a"])], seq + 1) for seq in range(4)]
    huge = [
        replace(block, rows=replace(block.rows, **{column: np.array([size], np.uint32)}))
        for block, size in zip(blocks, sizes, strict=True)
    ]
    assert getattr(coarsen(huge).rows, column).tolist() == [2**32 - 1, 6]


def test_a_span_that_float64_cannot_count_begins_a_summary() -> None:
    starts = [0, 2**53 - 255 * SECOND, 2**53]
    parts = [wave(seq, ["a"], start_us=start_us) for seq, start_us in enumerate(starts)]
    found = coarsen([block_of([part], seq + 1) for seq, part in enumerate(parts)])
    assert found.rows.count.tolist() == [512, 256]


def test_no_summaries_give_no_summaries() -> None:
    empty = replace(wave(0, ["a"]), values=np.full((256, 1), np.nan, np.float32))
    found = coarsen([block_of([empty], 1), block_of([empty], 2)])
    assert readings_of(found) == 0
    assert decode_summaries(encode_summaries(found)).rows.count.size == 0


def test_many_summaries_merge_into_quantiles_of_the_right_rank() -> None:
    rng = np.random.default_rng(5)
    parts = [wave(seq, ["a"]) for seq in range(300)]
    for part in parts:
        part.values = (rng.standard_normal((256, 1)) * rng.integers(1, 5)).astype(np.float32)
    found = coarsen([block_of([part], seq + 1) for seq, part in enumerate(parts)]).rows
    exact = np.sort(np.concatenate([part.values[:, 0] for part in parts]).astype(float))
    points = found.low[0] + found.sketch[0] / 255 * float(found.high[0] - found.low[0])
    sketch = QuantileSketch.from_points(points, count=int(found.count[0]))
    assert found.count.tolist() == [exact.size]
    for level in np.linspace(0.05, 0.95, 19):
        rank = np.searchsorted(exact, sketch.quantile(float(level))) / exact.size
        assert rank == pytest.approx(level, abs=0.03)


def many(count: int) -> list[SummaryBlock]:
    channels = [f"c{at}" for at in range(128)]
    return [block_of([wave(seq, channels)], seq + 1) for seq in range(count)]


def test_sixteen_blocks_take_a_quarter_of_their_bytes_or_less() -> None:
    blocks = many(16)
    found = coarsen(blocks)
    assert 4 * len(encode_summaries(found)) <= sum(len(encode_summaries(one)) for one in blocks)
    assert found.rows.count.tolist() == [16 * 256] * 128


def test_a_result_too_large_is_refused_where_it_is_encoded() -> None:
    rng, n = np.random.default_rng(2), 60_000
    (one,) = many(1)
    rows = concatenate([one.rows] * (n // 128 + 1))
    channels = tuple(f"c{at}" for at in range(rows.count.size))
    wide = replace(
        rows,
        channel=np.arange(rows.count.size, dtype=np.uint16),
        sketch=rng.integers(0, 256, rows.sketch.shape, np.uint8),
        mean=rng.standard_normal(rows.count.size).astype(np.float32),
    )
    found = coarsen([replace(one, channels=channels, rows=wide)])
    with pytest.raises(MessageError, match="too_large"):
        encode_summaries(found)


def test_more_names_than_a_block_can_number_are_refused() -> None:
    (one,) = many(1)
    names = [tuple(f"{side}{at}" for at in range(40_000)) for side in "lr"]
    with pytest.raises(MessageError, match="too_large: expected at most 65536 names, got 80000"):
        coarsen([replace(one, channels=side) for side in names])
