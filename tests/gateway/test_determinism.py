"""The same frames in the same order give the same bytes, however they are cut into batches."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.pipeline import Pipeline
from tests.gateway.graphs import CHANNELS, coupled_rows, fleet, joint, magnitude
from tests.gateway.streams import Frame, Run, feed, machine, take

QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
KINDS = {
    "bundled": machine,
    "fleet": lambda: machine(fleet()),
    "joint": lambda: machine(joint(["flow", "temperature"], window=3)),
    "stateless": lambda: machine(magnitude(window=3, warmup=4)),
}


@st.composite
def recordings(draw: st.DrawFn) -> list[Frame]:
    """Frames of a few assets: gaps, partial frames, late channels, jumps, times that turn back."""
    seed = draw(st.integers(0, 2**16))
    assets, rows = draw(st.integers(1, 4)), draw(st.integers(1, 130))
    missing, partial, odd, late = (draw(st.sampled_from([0.0, 0.1, 0.6])) for _ in range(4))
    rng = np.random.default_rng(seed)
    values = [coupled_rows(index, rows) for index in range(assets)]
    frames, clock = [], np.zeros(assets)
    for at in range(rows):
        for asset in rng.permutation(assets):
            clock[asset] += rng.choice([0.0, -30.0, 500.0]) if rng.random() < odd / 4 else 1.0
            row: dict[str, float | None] = {}
            for column, channel in enumerate(CHANNELS):
                unborn = late and at < late * rows * column / 2
                if unborn or rng.random() < partial:
                    continue
                jump = 1e40 if rng.random() < odd / 20 else 50.0 * (rng.random() < odd / 4)
                gone = rng.random() < missing
                row[channel] = None if gone else float(values[asset][at, column]) + jump
            if row:
                frames.append(Frame(f"asset-{asset}", 1e6 + 1000.0 * clock[asset], row))
    return frames


def whole(make: Callable[[], Pipeline], frames: list[Frame], cuts: list[int]) -> Run:
    """Feed all, with a tick in the middle and a flush at the end."""
    pipeline = make()
    half = len(frames) // 2
    run = feed(pipeline, frames[:half], [cut for cut in cuts if cut < half])
    take(run, pipeline, pipeline.tick())
    later = feed(pipeline, frames[half:], [cut - half for cut in cuts if cut > half])
    take(later, pipeline, pipeline.flush())
    return joined(run, later)


def joined(first: Run, second: Run) -> Run:
    parts = {name: getattr(first, name) + getattr(second, name) for name in vars(first)}
    return Run(**(parts | {"surprise": [b"".join(parts["surprise"])]}))


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(frames=recordings(), data=st.data())
def test_effects_do_not_depend_on_the_cuts(
    kind: str, frames: list[Frame], data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(frames)), max_size=12))
    one, many = (whole(KINDS[kind], frames, at) for at in ([], cuts))
    single = whole(KINDS[kind], frames, list(range(len(frames))))
    for other in (many, single):
        assert other.scores == one.scores
        assert other.alerts == one.alerts
        assert other.states == one.states
        assert other.summaries == one.summaries
        assert other.excerpts == one.excerpts
        assert other.counts == one.counts


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(frames=recordings())
def test_an_asset_does_not_feel_its_company(kind: str, frames: list[Frame]) -> None:
    together = whole(KINDS[kind], frames, [])
    for asset in {frame.asset for frame in frames}:
        alone = whole(KINDS[kind], [frame for frame in frames if frame.asset == asset], [])
        assert alone.scores == [score for score in together.scores if score[0] == asset]
        mark = f'"subject":"{asset}"'.encode()
        assert alone.alerts == [alert for alert in together.alerts if mark in alert]
        mark = f'"asset":"{asset}"'.encode()
        assert alone.states == [state for state in together.states if mark in state]


def test_the_recordings_raise_alerts_and_reach_every_kind_of_model() -> None:
    """Without alerts, fallbacks and excerpts the properties above would hold for nothing."""
    calm = [
        Frame(f"asset-{asset}", 1000.0 * at, dict(zip(CHANNELS, map(float, row), strict=True)))
        for asset in range(2)
        for at, row in enumerate(coupled_rows(asset, 200))
    ]
    shaken = [
        frame._replace(values={**frame.values, "flow": 500.0})
        if 150e3 <= frame.time_ms < 160e3
        else frame
        for frame in calm
    ]
    run = whole(KINDS["fleet"], shaken, [])
    assert {score[4] for score in run.scores} == {"robust 1", "fleet 1"}
    assert len(run.alerts) >= 4
    assert len(run.alerts) % 2 == 0 or b"updated" in b"".join(run.alerts)
    assert run.summaries
    assert run.excerpts
