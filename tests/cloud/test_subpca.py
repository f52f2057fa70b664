from __future__ import annotations

import numpy as np
import pytest

from cloud.errors import TrainingError
from cloud.train.history import AssetHistory
from cloud.train.subpca import FleetSettings, fit_fleet, screen
from cloud.train.subspace import fit_scaling, fit_subspaces, raw_scores
from tests.cloud.coupled import CHANNELS, coupled, coupled_rows, session_of
from wire.contract import ModelFile, decode_array

WINDOW = 8
SETTINGS = FleetSettings(window=WINDOW, components=3)


@pytest.fixture(scope="module")
def fleet() -> ModelFile:
    return fit_fleet(coupled(5), model_id="fleet", version=3, settings=SETTINGS)


def windows(values: np.ndarray) -> np.ndarray:
    view = np.lib.stride_tricks.sliding_window_view(values, WINDOW, axis=0)
    return np.ascontiguousarray(view.transpose(0, 2, 1), np.float32)


def run(model: ModelFile, x: np.ndarray, asset: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.broadcast_to(np.asarray(asset, np.int64), x.shape[:1])
    score, score_ch = session_of(model).run(["score", "score_ch"], {"x": x, "asset": rows})
    return score, score_ch


def test_the_graph_gathers_each_assets_own_tables(fleet: ModelFile) -> None:
    histories = coupled(5)
    x = np.concatenate([windows(coupled_rows(index, 600))[100:120] for index in range(5)])
    asset = np.repeat(np.arange(5), 20)
    score, _ = run(fleet, x, asset)
    for index, history in enumerate(histories):
        scaling = fit_scaling(history)
        flat = scaling.windows(history, WINDOW)
        spaces = fit_subspaces((flat.T @ flat / len(flat))[None], components=3)
        raw = raw_scores(flat, basis=spaces.basis[0], shrink=spaces.shrink[0])
        expected = raw[100:120] / np.quantile(raw, 0.9)
        assert score[asset == index] == pytest.approx(expected, rel=1e-4)


def test_a_row_scores_the_same_alone_and_in_company(fleet: ModelFile) -> None:
    x = windows(coupled_rows(2, 600))[:64]
    together, channels = run(fleet, x, 2)
    for row in range(64):
        alone, alone_channels = run(fleet, x[row : row + 1], 2)
        assert alone[0] == pytest.approx(together[row], rel=1e-5)
        assert alone_channels[0] == pytest.approx(channels[row], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("channel", range(3))
def test_a_channel_that_leaves_the_others_scores_high_and_is_named(
    fleet: ModelFile, channel: int
) -> None:
    values = coupled_rows(1, 600)
    normal, _ = run(fleet, windows(values), 1)
    values[300:, channel] = values[300, channel] + 4 * values[:, channel].std()
    faulty, channels = run(fleet, windows(values), 1)
    after = 300 - WINDOW + 1
    assert np.quantile(faulty[after + 3 :], 0.2) > np.quantile(normal, 0.99)
    assert (channels[after + WINDOW : after + 3 * WINDOW].argmax(axis=1) == channel).all()


@pytest.mark.parametrize("value", [0.0, 1e30, -3.4e38, 3.4e38])
def test_scores_are_finite_for_every_finite_input(fleet: ModelFile, value: float) -> None:
    score, channels = run(fleet, np.full((2, WINDOW, 3), value, np.float32), 0)
    assert np.isfinite(score).all()
    assert np.isfinite(channels).all()


def test_a_constant_channel_neither_explodes_nor_vanishes() -> None:
    values = coupled_rows(0, 600)
    values[:, 1] = 75.0
    history = AssetHistory("a", CHANNELS, (values,))
    model = fit_fleet([history], model_id="m", version=1, settings=SETTINGS)
    x = windows(values)[:1].copy()
    before, _ = run(model, x, 0)
    x[0, -1, 1] = 90.0
    after, channels = run(model, x, 0)
    assert before[0] < 2 < after[0] < 1000
    assert channels[0].argmax() == 1


def test_equal_histories_give_equal_bytes_in_any_order() -> None:
    first = fit_fleet(coupled(3), model_id="m", version=1, settings=SETTINGS)
    second = fit_fleet(coupled(3)[::-1], model_id="m", version=1, settings=SETTINGS)
    assert first.data == second.data
    assert first.card.assets == ("pump-0", "pump-1", "pump-2")


def test_the_golden_rows_are_met(fleet: ModelFile) -> None:
    golden = fleet.card.golden
    assert golden is not None
    score, _ = run(fleet, decode_array(golden.x, (4, WINDOW, 3)), np.array(golden.asset))
    expected = decode_array(golden.score, (4,))
    assert np.abs(score - expected).max() <= golden.atol * max(1, np.abs(expected).max())


def test_missing_values_are_held_and_windows_keep_inside_segments() -> None:
    values = coupled_rows(0, 900)
    values[10:20, 1] = np.nan
    cut = AssetHistory("a", CHANNELS, (values[:450], values[450:]))
    model = fit_fleet([cut], model_id="m", version=1, settings=SETTINGS)
    assert cut.windows(WINDOW) == 2 * (450 - WINDOW + 1)
    assert fit_scaling(cut).windows(cut, WINDOW).shape == (cut.windows(WINDOW), 3 * WINDOW)
    assert model.card.provenance["rows"] == "900"


def test_assets_with_too_little_are_left_out_with_a_reason() -> None:
    short = AssetHistory("short", CHANNELS, (coupled_rows(9, 50),))
    kept, left_out = screen([*coupled(2), short], settings=SETTINGS)
    assert [history.asset for history in kept] == ["pump-0", "pump-1"]
    assert left_out == {"short": "expected 128 rows, got 50"}
    with pytest.raises(TrainingError, match="short: expected 128 rows, got 50"):
        fit_fleet([short], model_id="m", version=1, settings=SETTINGS)


def test_different_channels_do_not_mix() -> None:
    other = AssetHistory("b", ("other",), (coupled_rows(0, 600)[:, :1],))
    with pytest.raises(TrainingError, match="one list of channels"):
        fit_fleet([*coupled(1), other], model_id="m", version=1)


def test_cutting_a_history_keeps_every_row_once() -> None:
    history = AssetHistory("a", CHANNELS, (coupled_rows(0, 30), coupled_rows(1, 20)))
    for row in (0, 10, 30, 37, 50):
        head, tail = history.cut(row)
        assert (head.rows, tail.rows) == (row, 50 - row)
        joined = np.concatenate([*head.segments, *tail.segments])
        assert np.array_equal(joined, np.concatenate(history.segments))


def test_one_univariate_channel_trains_with_the_default_window() -> None:
    history = AssetHistory("a", ("v",), (coupled_rows(0, 600)[:, :1],))
    model = fit_fleet([history], model_id="m", version=1)
    assert (model.card.window, len(model.card.channels)) == (32, 1)
