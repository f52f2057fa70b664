from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cloud.train.robust import STATE, build_robust, score_streams
from tests.cloud.coupled import session_of
from wire.contract import ModelFile

BUNDLED = Path(__file__).parents[2] / "gateway" / "bundled" / "robust.onnx"


@pytest.fixture(scope="module")
def model() -> ModelFile:
    return build_robust()


@pytest.fixture(scope="module")
def session(model: ModelFile) -> onnxruntime.InferenceSession:
    return session_of(model)


def run(session: onnxruntime.InferenceSession, streams: np.ndarray) -> np.ndarray:
    state = np.zeros((streams.shape[0], STATE), np.float32)
    scores = np.empty(streams.shape, np.float32)
    for column in range(streams.shape[1]):
        x = streams[:, column].astype(np.float32).reshape(-1, 1, 1)
        inputs = {"x": x, "state.s": state}
        scores[:, column], state = session.run(["score", "state.s.out"], inputs)
    assert np.isfinite(scores).all()
    assert np.isfinite(state).all()
    return scores


def noise(streams: int = 4, readings: int = 2000) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((streams, readings))


def test_the_bundled_file_is_what_the_code_builds(model: ModelFile) -> None:
    assert BUNDLED.read_bytes() == model.data
    assert len(model.data) < 10_000


def test_the_graph_does_what_the_reference_does(session: onnxruntime.InferenceSession) -> None:
    streams = noise().astype(np.float32).astype(np.float64)
    expected = score_streams(streams)
    assert run(session, streams) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(("scale", "offset"), [(1000.0, 0.0), (1e-6, 0.0), (1.0, 100.0), (-50, 7)])
def test_unit_and_offset_do_not_matter(
    session: onnxruntime.InferenceSession, scale: float, offset: float
) -> None:
    streams = np.round(noise() * 256) / 256
    moved = run(session, streams * scale + offset)
    assert moved == pytest.approx(run(session, streams), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e30, 3e38])
def test_a_constant_stream_scores_zero(session: onnxruntime.InferenceSession, value: float) -> None:
    assert run(session, np.full((1, 200), value)).max() == 0


def test_the_first_change_after_a_constant_run_scores_high_and_finite(
    session: onnxruntime.InferenceSession,
) -> None:
    stream = np.full((1, 300), 20.0)
    stream[0, 200:] = 20.5
    scores = run(session, stream)[0]
    assert scores[:200].max() == 0
    assert 100 < scores[200] <= 1e6


def test_a_spike_is_seen_and_leaves_no_trace(session: onnxruntime.InferenceSession) -> None:
    streams = noise(1)
    calm = run(session, streams)[0]
    streams[0, 1000] += 1e6
    spiked = run(session, streams)[0]
    assert spiked[1000] > 1e5
    assert spiked[1002:] == pytest.approx(calm[1002:], rel=0.15, abs=0.1)


def test_a_step_alerts_at_once_and_is_learned(session: onnxruntime.InferenceSession) -> None:
    streams = noise(1, 4000)
    streams[0, 1000:] += 30
    scores = run(session, streams)[0]
    assert (scores[1000:1010] > 12).all()
    assert np.median(scores[3500:]) < 3


def test_rare_steps_of_a_coarse_sensor_become_normal(
    session: onnxruntime.InferenceSession,
) -> None:
    stream = 20 + 0.1 * (np.arange(6000) // 40 % 2)[None, :]
    scores = run(session, stream)[0]
    assert scores[5000:].max() < 6


@pytest.mark.parametrize("extreme", [3.4e38, -3.4e38, 1e-45, 0.0])
def test_extremes_keep_scores_and_state_finite(
    session: onnxruntime.InferenceSession, extreme: float
) -> None:
    streams = noise(1, 400)
    streams[0, ::7] = extreme
    streams[0, 300:] = extreme
    run(session, streams)


def test_rows_do_not_depend_on_their_company(session: onnxruntime.InferenceSession) -> None:
    streams = noise(64, 100)
    together = run(session, streams)
    assert np.array_equal(run(session, streams[5:6])[0], together[5])


def test_false_alarms_on_noise_keep_to_the_calibration(
    session: onnxruntime.InferenceSession, model: ModelFile
) -> None:
    scores = run(session, noise(64, 2000))[:, 500:]
    cut = np.interp(-1e-2, -np.array(model.card.calibration.p), model.card.calibration.scores)
    assert 0.002 < (scores > cut).mean() < 0.02
