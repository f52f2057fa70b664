from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sensors.errors import SimulationError
from sensors.recording import Recording
from sensors.simulate.faults import FaultKind, parse_duration_s, parse_fault
from sensors.simulate.signal import lagged
from sensors.simulate.simulation import RIGS, START_US, simulate

HOUR_US = 3_600_000_000
PUMP_FAULTS = {
    "bearing_wear": {"current", "vibration", "bearing_temperature"},
    "cavitation": {"flow", "suction_pressure", "discharge_pressure", "current", "vibration"},
    "leak": {"speed", "suction_pressure", "current", "bearing_temperature"},
    "drift": {"speed", "flow", "suction_pressure", "current", "bearing_temperature"},
    "spike": {"speed", "flow", "discharge_pressure", "current", "vibration"},
}
UNTOUCHED = {
    "bearing_wear": {"speed", "flow", "suction_pressure", "discharge_pressure"},
    "cavitation": {"fluid_temperature"},
    "leak": {"discharge_pressure"},
    "drift": {"discharge_pressure"},
    "spike": {"bearing_temperature", "fluid_temperature"},
}


def run(rig: str, *faults: str, seed: int = 7, hours: float = 2.0) -> Recording:
    parsed = [parse_fault(text) for text in faults]
    return simulate(rig, duration_s=hours * 3600, seed=seed, faults=parsed)


def shifts(rig: str, fault: str) -> dict[str, float]:
    """Mean difference to the sound run while the fault acts, in the sound run's deviations."""
    sound, faulty = run(rig).whole(), run(rig, f"{fault}@1h").whole()
    acting = faulty.flags[fault, None]
    moved = (faulty.values - sound.values)[acting].mean(axis=0) / sound.values.std(axis=0)
    return dict(zip((c.name for c in RIGS[rig].channels), moved.tolist(), strict=True))


@pytest.mark.parametrize("rig", RIGS)
def test_equal_seeds_give_equal_rows_and_others_do_not(rig: str) -> None:
    one, same, other = run(rig), run(rig), run(rig, seed=8)
    assert one.whole().values.tobytes() == same.whole().values.tobytes()
    assert one.whole().values.tobytes() != other.whole().values.tobytes()


@pytest.mark.parametrize("rig", RIGS)
def test_channels_have_units_and_finite_varying_values(rig: str) -> None:
    recording = run(rig, hours=24)
    values = recording.whole().values
    assert 6 <= len(recording.channels) <= 8
    assert all(channel.unit for channel in recording.channels)
    assert np.isfinite(values).all()
    assert (values.std(axis=0) > 0).all()
    assert recording.labels == ()
    assert recording.row_count == 86_400


@pytest.mark.parametrize(
    ("rig", "kind"), [(rig, kind) for rig, made in RIGS.items() for kind in made.kinds]
)
def test_labels_tell_when_and_nothing_moves_before(rig: str, kind: FaultKind) -> None:
    recording = run(rig, f"{kind}@1h+5m")
    [label] = recording.labels
    assert label.kind == kind
    assert (label.start_us - START_US, label.end_us - START_US) == (
        HOUR_US,
        HOUR_US + 299_000_000,
    )
    before = slice(0, 3600)
    np.testing.assert_array_equal(recording.whole().values[before], run(rig).whole().values[before])


@pytest.mark.parametrize("fault", PUMP_FAULTS)
def test_a_pump_fault_moves_the_channels_that_physics_couples(fault: str) -> None:
    moved = shifts("pump", fault)
    assert {name for name, shift in moved.items() if abs(shift) > 1} >= PUMP_FAULTS[fault]
    assert {name for name, shift in moved.items() if abs(shift) < 0.5} >= UNTOUCHED[fault]


def test_the_pump_makes_up_for_a_leak() -> None:
    moved = shifts("pump", "leak")
    assert moved["speed"] > 1
    assert moved["current"] > 1


def test_a_compressor_leak_raises_its_duty() -> None:
    moved = shifts("compressor", "leak")
    assert moved["air_flow"] > 0.3
    assert moved["oil_temperature"] > 1
    assert abs(moved["receiver_pressure"]) < 0.3


def test_a_drifting_pressure_sensor_moves_the_true_switching_points() -> None:
    drift = run("compressor", "drift@0s+2h").whole().values[-1800:]
    sound = run("compressor").whole().values[-1800:]
    assert drift[:, 0].max() == pytest.approx(sound[:, 0].max(), abs=0.1)
    assert drift[:, 2].max() < sound[:, 2].max() - 1


def test_a_stuck_sensor_repeats_and_the_others_go_on() -> None:
    values = run("pump", "stuck_sensor:flow@1h+10m").whole().values
    stuck = slice(3600, 4200)
    assert len(set(values[stuck, 1].tolist())) == 1
    assert len(set(values[stuck, 0].tolist())) > 100


def test_a_gap_silences_one_transmitter() -> None:
    recording = run("pump", "gap@1h")
    missing = np.isnan(recording.whole().values)
    silent = [c.name for c, m in zip(recording.channels, missing.T, strict=True) if m.any()]
    assert silent == ["vibration", "bearing_temperature"]
    assert missing[:, 5].sum() == 180


def test_the_compressor_loads_and_unloads_between_its_pressures() -> None:
    pressure = run("compressor", hours=6).whole().values[600:, 0]
    assert pressure.min() == pytest.approx(6.8, abs=0.15)
    assert pressure.max() == pytest.approx(7.5, abs=0.15)
    crossings = np.diff(np.sign(pressure - 7.15)) != 0
    assert 50 < crossings.sum() < 5000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rust@1h", "expected KIND"),
        ("leak", "expected KIND"),
        ("leak@soon", "duration: expected such as 1h30m"),
        ("leak@1.2.3h", "duration: expected such as 1h30m"),
    ],
)
def test_unreadable_faults_are_refused(text: str, said: str) -> None:
    with pytest.raises(SimulationError, match=said):
        parse_fault(text)


@pytest.mark.parametrize(
    ("rig", "fault", "said"),
    [
        ("boiler", "leak@1h", "expected one of pump, compressor"),
        ("compressor", "cavitation@1h", "compressor: expected a fault of"),
        ("pump", "leak:flow@1h", "stuck_sensor or drift on one of"),
        ("pump", "drift:colour@1h", "stuck_sensor or drift on one of"),
        ("pump", "leak@3h", "expected a start before"),
    ],
)
def test_impossible_runs_are_refused(rig: str, fault: str, said: str) -> None:
    with pytest.raises(SimulationError, match=said):
        run(rig, fault)


@given(st.integers(0, 99), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_durations(days: int, hours: int, minutes: int, seconds: int) -> None:
    text = f"{days}d{hours}h{minutes}m{seconds}s"
    assert parse_duration_s(text) == days * 86_400 + hours * 3600 + minutes * 60 + seconds


@given(
    source=st.lists(st.floats(-1e3, 1e3), max_size=400).map(np.array),
    tau_s=st.floats(0.5, 5000),
    start=st.floats(-1e3, 1e3),
)
def test_lag_is_the_recurrence(source: NDArray[np.float64], tau_s: float, start: float) -> None:
    keep, level, expected = np.exp(-1.0 / tau_s), start, []
    for value in source:
        level = keep * level + (1 - keep) * value
        expected.append(level)
    lag = lagged(source, tau_s=tau_s, period_s=1.0, start=start)
    np.testing.assert_allclose(lag, expected, atol=1e-6)
