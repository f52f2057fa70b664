from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import TrainingError
from cloud.train.calibration import calibrate
from wire.contract import Calibration


def p_value(calibration: Calibration, score: float) -> float:
    scores, p = np.array(calibration.scores), np.array(calibration.p)
    if score <= scores[-1]:
        return float(np.exp(np.interp(score, scores, np.log(p))))
    excess = (score - scores[-1]) / calibration.beta
    if calibration.xi:
        return float(p[-1] * (1 + calibration.xi * excess) ** (-1 / calibration.xi))
    return float(p[-1] * np.exp(-excess))


def test_p_values_of_a_known_distribution_are_right_within_the_data_and_beyond() -> None:
    calibration = calibrate(np.random.default_rng(1).exponential(size=200_000))
    for p in (0.5, 0.1, 1e-2, 1e-3):
        assert p_value(calibration, -np.log(p)) == pytest.approx(p, rel=0.1)
    assert 1e-7 < p_value(calibration, -np.log(1e-6)) < 1e-5


def test_a_heavy_tail_gets_a_shape_above_zero() -> None:
    calibration = calibrate(np.random.default_rng(1).pareto(6, size=1_000_000))
    assert calibration.xi == pytest.approx(1 / 6, abs=0.1)


@given(
    st.lists(st.floats(0, 1e6), min_size=20, max_size=60)
    | st.integers(20, 60).map(lambda n: [1.0] * n)
)
def test_any_scores_give_a_table_that_falls(scores: list[float]) -> None:
    calibration = calibrate(np.array(scores))
    assert (np.diff(calibration.scores) > 0).all()
    assert (np.diff(calibration.p) < 0).all()
    assert 0 < min(calibration.p) <= max(calibration.p) <= 1
    assert calibration.beta > 0
    assert 0 <= calibration.xi <= 0.5


def test_too_few_scores_are_refused() -> None:
    with pytest.raises(TrainingError, match="expected 20 or more scores"):
        calibrate(np.array([1.0, float("nan")] * 15))
