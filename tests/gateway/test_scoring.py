"""Calibration, one scorer, and the fleet of them."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ModelRefusedError
from gateway.score.calibration import MAX_L, surprise
from gateway.score.scorer import CHUNK
from tests.gateway import graphs
from tests.gateway.graphs import CHANNELS, coupled_rows, joint, load, magnitude
from tests.gateway.streams import Frame, Run, draft_of, feed, machine, ramp, take
from wire.contract import AlertRule, Calibration, read_model

# Calibration

TABLE = Calibration(scores=(1.0, 2.0, 4.0), p=(0.5, 0.1, 0.001), xi=0.2, beta=0.5)


def at(score: float, calibration: Calibration = TABLE) -> float:
    return float(surprise(calibration, np.array([score], np.float32))[0])


def test_the_table_is_met_at_its_entries_and_straight_between() -> None:
    assert [10 ** -at(score) for score in TABLE.scores] == pytest.approx(TABLE.p)
    assert at(3.0) == pytest.approx((at(2.0) + at(4.0)) / 2)
    assert at(-1e30) == at(1.0)


def test_the_tail_is_the_generalised_pareto_one() -> None:
    assert 10 ** -at(6.0) == pytest.approx(0.001 * (1 + 0.2 * 2 / 0.5) ** (-1 / 0.2), rel=1e-6)
    plain = Calibration(TABLE.scores, TABLE.p, xi=0.0, beta=0.5)
    assert 10 ** -at(6.0, plain) == pytest.approx(0.001 * np.exp(-2 / 0.5), rel=1e-6)
    nearly = Calibration(TABLE.scores, TABLE.p, xi=1e-8, beta=0.5)
    assert at(6.0, nearly) == pytest.approx(at(6.0, plain), rel=1e-6)


def test_the_smallest_p_is_capped() -> None:
    plain = Calibration(TABLE.scores, TABLE.p, xi=0.0, beta=1e-6)
    assert at(1e30, plain) == MAX_L
    assert at(np.inf, plain) == MAX_L


@given(
    st.lists(st.floats(-1e3, 1e6, width=32), min_size=2, max_size=30),
    st.sampled_from([0.0, 1e-12, 1e-8, 0.3, 1.0]),
    st.sampled_from([1e-9, 0.5, 1e6]),
)
def test_a_higher_score_is_never_less_surprising(
    scores: list[float], xi: float, beta: float
) -> None:
    calibration = Calibration(TABLE.scores, TABLE.p, xi=xi, beta=beta)
    level = surprise(calibration, np.sort(np.array(scores, np.float32)))
    assert (np.diff(level) >= 0).all()
    assert (level >= 0).all()
    assert (level <= MAX_L).all()


# Scorer


def windows(rows: int) -> np.ndarray:
    x = np.stack([coupled_rows(seed, 8) for seed in range(3)])
    return np.concatenate([x] * (rows // 3 + 1))[:rows]


@pytest.mark.parametrize("rows", [1, 2, 63, 64, 65, 129])
def test_a_row_scores_the_same_bits_in_any_company(rows: int) -> None:
    scorer = load(graphs.fleet())
    x, table = windows(129), np.arange(129) % 3
    whole, by_channel = scorer.score(np.arange(129), x, rows=table)
    part, part_by_channel = scorer.score(np.arange(rows), x[:rows], rows=table[:rows])
    assert by_channel is not None
    assert part_by_channel is not None
    assert part.tobytes() == whole[:rows].tobytes()
    assert part_by_channel.tobytes() == by_channel[:rows].tobytes()
    turned, _ = scorer.score(np.arange(rows), x[:rows][::-1].copy(), rows=table[:rows][::-1].copy())
    assert turned[::-1].tobytes() == part.tobytes()


def test_no_rows_need_no_call() -> None:
    scorer = load(graphs.counter())
    scorer.hold(1)
    score, by_channel = scorer.score(np.zeros(0, np.int64), np.zeros((0, 1, 1), np.float32))
    assert score.shape == (0,)
    assert by_channel is None


@pytest.mark.parametrize("rows", [1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_each_unit_carries_its_own_state(rows: int) -> None:
    scorer = load(graphs.counter(init=10.0))
    scorer.hold(rows)
    x = np.zeros((rows, 1, 1), np.float32)
    for count in range(3):
        score, _ = scorer.score(np.arange(rows), x)
        assert score.tolist() == [10.0 + count] * rows
    scorer.hold(rows + 200)
    score, _ = scorer.score(
        np.array([0, rows + 150]), x[:2] if rows > 1 else np.zeros((2, 1, 1), np.float32)
    )
    assert score.tolist() == [13.0, 10.0]


def test_a_self_test_leaves_no_state_behind() -> None:
    golden = graphs.golden_of(np.zeros((3, 1, 1), np.float32), [0.0, 0.0, 0.0])
    scorer = load(graphs.counter(golden=golden))
    scorer.hold(3)
    assert scorer.score(np.arange(3), np.zeros((3, 1, 1), np.float32))[0].tolist() == [0.0] * 3


def test_a_reading_that_no_model_can_score_spoils_nothing_after_it() -> None:
    scorer = load(graphs.counter())
    scorer.hold(2)
    x = np.array([[[np.inf]], [[1.0]]], np.float32)
    score, _ = scorer.score(np.arange(2), x)
    assert score.tolist() == [np.float32(1e30), 0.0]
    score, _ = scorer.score(np.arange(2), np.ones((2, 1, 1), np.float32))
    assert score.tolist() == [0.0, 1.0]


def joint_of_every_stream() -> graphs.ModelFile:
    return joint(["*"], assets=("x",))


REFUSALS = {
    "not_finite": graphs.not_a_number,
    "shape": graphs.one_score_for_all,
    "batch": graphs.company,
    "golden": lambda: graphs.counter(
        golden=graphs.golden_of(np.zeros((2, 1, 1), np.float32), [0.0, 0.5])
    ),
    "window": lambda: magnitude(window=300),
    "assets": joint_of_every_stream,
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_model_that_would_fail_in_service_is_refused_with_both_sides(reason: str) -> None:
    with pytest.raises(ModelRefusedError, match=r"expected .*got ") as refusal:
        load(REFUSALS[reason]())
    assert refusal.value.reason == reason


@pytest.mark.parametrize("cut", [0, 1, 100, 0.5, -1])
def test_a_truncated_file_is_refused(cut: float) -> None:
    data = graphs.bundled()
    end = int(len(data) * cut) if 0 < cut < 1 else int(cut)
    with pytest.raises(ModelRefusedError):
        load(data[:end])


@given(st.integers(0, 2**32), st.integers(0, 255))
def test_a_file_with_a_changed_byte_is_refused_or_loads(place: int, byte: int) -> None:
    data = bytearray(graphs.bundled())
    data[place % len(data)] = byte
    with contextlib.suppress(ModelRefusedError):
        load(bytes(data))


# Fleet


def models(run: Run) -> list[str]:
    return [score[4] for score in run.scores]


def rows_of(asset: str, rows: int, *, seed: int = 0) -> list[Frame]:
    return [
        Frame(asset, 1000.0 * at, dict(zip(CHANNELS, map(float, row), strict=True)))
        for at, row in enumerate(coupled_rows(seed, rows))
    ]


def test_the_fallback_scores_until_the_window_is_full() -> None:
    run = feed(machine(graphs.fleet(window=8)), rows_of("asset-0", 10))
    assert models(run) == ["robust 1"] * 3 * 7 + ["fleet 1"] * 3 * 3


def test_an_asset_that_the_model_does_not_know_or_not_all_of_falls_back() -> None:
    known = rows_of("asset-0", 10)
    strangers = rows_of("asset-77", 10)
    partial = [
        Frame("asset-1", frame.time_ms, {"flow": 1.0, "pressure": 1.0, "temperature": None})
        for frame in known
    ]
    run = feed(machine(graphs.fleet()), strangers + partial + known)
    assert {score[4] for score in run.scores if score[0] != "asset-0"} == {"robust 1", ""}


def test_a_channel_beside_the_models_own_falls_back_alone() -> None:
    frames = [
        Frame(frame.asset, frame.time_ms, {**frame.values, "extra": 1.0})
        for frame in rows_of("asset-0", 10)
    ]
    run = feed(machine(graphs.fleet()), frames)
    late = [score for score in run.scores if score[1] >= 8_000_000]
    assert {(score[2], score[4]) for score in late} == {
        *((name, "fleet 1") for name in CHANNELS),
        ("extra", "robust 1"),
    }


def test_a_remarkable_channel_beside_the_models_own_decides_by_its_own_model() -> None:
    fallback = magnitude(id="zz-fallback")
    pipeline = machine(joint(["a"]), fallback)
    values = [{"a": 0.5, "b": 0.1}, {"a": 0.5, "b": 8.0}, {"a": 0.5, "b": 8.0}]
    run = feed(pipeline, [Frame("x", 1e6 + 1000.0 * i, v) for i, v in enumerate(values)])
    (alert,) = run.alerts
    assert b'"id":"zz-fallback"' in alert
    assert b'"name":"b"' in alert


def test_of_several_models_the_last_by_name_has_the_streams_it_knows() -> None:
    pipeline = machine(joint(["a", "b"], id="first"), joint(["b", "c"], id="second"))
    values = {"a": 1.0, "b": 2.0, "c": 3.0}
    run = feed(pipeline, [Frame("x", 1000.0 * at, values) for at in range(3)])
    assert models(run) == ["robust 1", "second 1", "second 1"] * 3


def test_a_model_binds_as_soon_as_its_last_channel_has_a_value() -> None:
    pipeline = machine(joint(["a", "b"]))
    rows = [{"a": 1.0}, {"a": 1.0, "b": None}, {"a": 1.0, "b": 2.0}, {"a": 1.0}]
    run = feed(pipeline, [Frame("x", 1000.0 * at, row) for at, row in enumerate(rows)])
    assert models(run) == ["robust 1", "robust 1", "", "joint 1", "joint 1", "joint 1"]


def test_the_most_surprising_of_many_channels_is_judged_by_their_number() -> None:
    pipeline = machine(magnitude())
    wide = {f"c{index}": 0.0 for index in range(99)} | {"hot": 6.0}
    pipeline_alone = machine(magnitude())
    many = feed(pipeline, [Frame("x", 1000.0, wide)])
    one = feed(pipeline_alone, [Frame("x", 1000.0, {"hot": 6.0})])
    level = [np.frombuffer(run.surprise[0])[0] for run in (many, one)]
    assert level[1] - level[0] == pytest.approx(2.0)


@pytest.mark.parametrize("cuts", [(), (1, 2, 3, 4, 5)])
def test_warming_streams_are_scored_and_raise_nothing(cuts: tuple[int, ...]) -> None:
    pipeline = machine(magnitude(warmup=4))
    run = feed(pipeline, [Frame("x", 1e6 + 1000.0 * at, {"a": 9.0}) for at in range(8)], cuts)
    assert len(run.scores) == 8
    (opened,) = run.alerts
    assert b'"start_ms":1004000.0' in opened


def test_a_new_fallback_warms_up_anew_and_the_same_one_does_not() -> None:
    pipeline = machine(magnitude(warmup=4))
    feed(pipeline, ramp("x", 10))
    pipeline.install(list(pipeline.fleet.scorers))
    assert pipeline.fleet.readings[0] == 10
    pipeline.install([load(magnitude(version=2, warmup=4))])
    assert pipeline.fleet.readings[0] == 0


def test_a_model_gets_the_mask_it_asks_for() -> None:
    pipeline = machine(graphs.mean_mask(window=4))
    rows = [{"a": 1.0}, {"b": 1.0}, {"a": 1.0}, {"a": None, "b": 2.0}, {"a": 5.0}]
    run = feed(pipeline, [Frame("x", 1000.0 * at, row) for at, row in enumerate(rows)])
    shares = [
        np.frombuffer(score[3], np.float32)[0]
        for score in run.scores
        if score[2] == "a" and score[4]
    ]
    assert shares == [0.25, 0.5, 0.5]


def test_a_swap_loses_no_reading_and_each_score_names_its_model() -> None:
    pipeline = machine()
    frames = [
        frame
        for trio in zip(
            *(rows_of(f"asset-{seed}", 60, seed=seed) for seed in range(3)), strict=True
        )
        for frame in trio
    ]
    runs, swaps = [], [None, graphs.fleet(version=1), graphs.fleet(version=2)]
    for part, model in enumerate(swaps):
        if model is not None:
            pipeline.install([pipeline.fleet.scorers[0], load(model)])
        runs.append(feed(pipeline, frames[part * 60 : part * 60 + 60]))
    assert [set(models(run)) for run in runs] == [{"robust 1"}, {"fleet 1"}, {"fleet 2"}]
    assert sum(len(run.scores) for run in runs) == 180 * 3
    assert all(
        not np.isnan(np.frombuffer(score[3], np.float32)[0]) for run in runs for score in run.scores
    )


@pytest.mark.parametrize("model", [graphs.lookup(), graphs.joint_lookup(["a", "b"])])
def test_a_model_that_fails_in_service_leaves_and_others_score_its_readings(
    model: graphs.ModelFile,
) -> None:
    pipeline = machine(model)
    frames = [
        Frame("x", 1000.0 * at, {"a": value, "b": 1.0})
        for at, value in enumerate([1.0, 2.0, 99.0, 3.0])
    ]
    run = feed(pipeline, frames[:2])
    assert set(models(run)[2:]) == {f"{model.card.id} 1"}
    effects = pipeline.step(draft_of(pipeline, frames[2:]))
    assert [error.name for error in effects.failed] == [f"{model.card.id} 1"]
    assert [error.reason for error in effects.failed] == ["run"]
    after = Run()
    take(after, pipeline, effects)
    assert models(after) == ["robust 1"] * 4
    assert pipeline.fleet.scorers == [pipeline.bundled]


def test_a_rule_may_ask_for_a_single_frame() -> None:
    rule = AlertRule(p=1e-3, p_clear=1e-2, k=1, n=1, clear=1)
    run = feed(
        machine(magnitude(alert=rule)), [Frame("x", 1.0, {"a": 9.0}), Frame("x", 2.0, {"a": 0.0})]
    )
    assert [b"opened" in run.alerts[0], b"closed" in run.alerts[1]] == [True, True]


def test_the_bundled_model_meets_the_contract() -> None:
    file = read_model(graphs.bundled())
    assert file.card.per_stream
    assert file.card.states
    assert load(graphs.bundled()).card.golden
