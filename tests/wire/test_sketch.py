"""The sketch against exact quantiles, within the bound that its docstring states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wire.sketch import MOST_POINTS, QuantileSketch

PARTS = 16
LEVELS = np.linspace(0, 1, 101)


def sketch_of(readings: np.ndarray) -> QuantileSketch:
    points = np.quantile(readings, (np.arange(PARTS) + 0.5) / PARTS)
    return QuantileSketch.from_points(points, count=readings.size)


def merged(sketches: list[QuantileSketch]) -> QuantileSketch:
    total = sketches[0]
    for sketch in sketches[1:]:
        total = total.merge(sketch)
    return total


def rank_error(sketch: QuantileSketch, readings: np.ndarray) -> float:
    ordered = np.sort(readings)
    values = np.array([sketch.quantile(level) for level in LEVELS])
    below = np.searchsorted(ordered, values, "left") / ordered.size
    up_to = np.searchsorted(ordered, values, "right") / ordered.size
    return float(np.maximum(below - LEVELS, LEVELS - up_to).max())


def parts_of(shape: str, count: int) -> list[np.ndarray]:
    random = np.random.default_rng(7)
    make = {
        "same": lambda _: random.normal(size=240),
        "drifting": lambda k: random.normal(size=240) + k / 50,
        "heavy": lambda _: random.lognormal(0, 2, size=240),
        "unequal": lambda _: random.normal(size=int(random.integers(20, 500))),
        "steps": lambda _: random.integers(0, 5, size=240).astype(float),
    }
    return [make[shape](index) for index in range(count)]


@pytest.mark.parametrize("shape", ["same", "drifting", "heavy", "unequal", "steps"])
@pytest.mark.parametrize("count", [1, 10, 2000])
def test_quantiles_after_many_merges_lie_within_the_stated_rank_error(
    shape: str, count: int
) -> None:
    parts = parts_of(shape, count)
    sketch = merged([sketch_of(part) for part in parts])
    heaviest = sketch.weights.max() / sketch.count
    bound = 1 / 32 + count / 25_088 + heaviest / 2
    finite = 1 / min(part.size for part in parts)
    error = rank_error(sketch, np.concatenate(parts))
    assert error <= bound + finite
    if count > 1:
        assert error <= 0.025
    assert sketch.count == pytest.approx(sum(part.size for part in parts))


def test_merging_in_another_order_stays_within_the_bound() -> None:
    parts = parts_of("drifting", 500)
    order = np.random.default_rng(3).permutation(len(parts))
    everything = np.concatenate(parts)
    halves = [merged([sketch_of(parts[i]) for i in half]) for half in np.split(order, 4)]
    assert rank_error(merged(halves), everything) <= 0.025
    assert rank_error(merged([sketch_of(parts[i]) for i in order]), everything) <= 0.025


points = hnp.arrays(np.float64, st.integers(0, 600), elements=st.floats(-1e9, 1e9))
sketches = st.builds(
    lambda values, count: QuantileSketch.from_points(values, count=count),
    points,
    st.integers(0, 10_000),
)


@given(sketches, sketches, sketches)
def test_merging_keeps_order_count_and_size(
    a: QuantileSketch, b: QuantileSketch, c: QuantileSketch
) -> None:
    sketch = a.merge(b).merge(c)
    assert sketch.count == pytest.approx(a.count + b.count + c.count)
    assert sketch.values.size <= MOST_POINTS
    assert (np.diff(sketch.values) >= 0).all()
    quantiles = [sketch.quantile(level) for level in LEVELS]
    if sketch.values.size:
        assert (np.diff(quantiles) >= 0).all()
        assert sketch.values[0] <= quantiles[0] <= quantiles[-1] <= sketch.values[-1]
    else:
        assert np.isnan(quantiles).all()


@given(sketches, sketches)
def test_merging_is_commutative_and_deterministic(a: QuantileSketch, b: QuantileSketch) -> None:
    one, other = a.merge(b), b.merge(a)
    np.testing.assert_array_equal(one.values, other.values)
    assert a.merge(b).weights.tobytes() == one.weights.tobytes()


@given(sketches)
def test_an_empty_sketch_changes_nothing(sketch: QuantileSketch) -> None:
    empty = QuantileSketch.from_points(np.empty(0), count=0)
    assert sketch.merge(empty).values.tobytes() == sketch.values.tobytes()


def test_missing_points_carry_no_weight() -> None:
    sketch = QuantileSketch.from_points(np.array([3.0, np.nan, 1.0]), count=10)
    assert sketch.values.tolist() == [1.0, 3.0]
    assert sketch.weights.tolist() == [5.0, 5.0]


def test_picked_points_are_points_that_were_there() -> None:
    values = np.random.default_rng(0).normal(size=MOST_POINTS)
    left = QuantileSketch.from_points(values, count=10)
    right = QuantileSketch.from_points(values + 10, count=30)
    assert np.isin(left.merge(right).values, [*values, *(values + 10)]).all()
