"""Which full-rate rows go up, and how many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.pipeline import PipelineSettings
from gateway.summary.excerpts import ExcerptPlan
from tests.gateway.graphs import magnitude
from tests.gateway.streams import Frame, feed, machine, ramp
from wire.blocks import ExcerptBlock, decode_excerpt


def settings_of(plan: ExcerptPlan, most_rows: int = 256) -> PipelineSettings:
    return PipelineSettings(excerpts=plan, most_rows=most_rows, least_rows=min(240, most_rows))


def excerpts(plan: ExcerptPlan, rows: int, *, most_rows: int = 256) -> list[ExcerptBlock]:
    pipeline = machine(settings=settings_of(plan, most_rows))
    return [decode_excerpt(one) for one in feed(pipeline, ramp("x", rows)).excerpts]


@settings(deadline=None, max_examples=40)
@given(
    history=st.integers(0, 300),
    every=st.integers(256, 400),
    length=st.integers(1, 64),
    most_rows=st.integers(64, 256),
    rows=st.integers(1, 900),
)
def test_history_goes_up_whole_and_once_then_one_sample_each_so_many_rows(
    history: int, every: int, length: int, most_rows: int, rows: int
) -> None:
    found = excerpts(
        ExcerptPlan(history_rows=history, sample_every=every, sample_rows=length),
        rows,
        most_rows=most_rows,
    )
    first = [block for block in found if block.reason == "history"]
    samples = [block for block in found if block.reason == "sample"]
    sent = np.concatenate([block.values[:, 0] for block in first] or [np.zeros(0)])
    assert sent.tolist() == list(range(sent.size))
    assert sent.size <= history
    if rows >= history:
        assert sent.size == history
    else:
        assert rows - sent.size < min(128, most_rows)
    assert len(samples) <= max(rows - history, 0) // every + (history == 0)
    if rows >= history + every:
        assert samples
    assert all(block.times_us.size == length for block in samples)
    ends = [int(block.values[-1, 0]) + 1 for block in samples]
    assert [end - ends[0] for end in ends] == [every * at for at in range(len(ends))]


def test_assets_that_start_together_send_at_different_times() -> None:
    pipeline = machine(
        settings=settings_of(ExcerptPlan(history_rows=1024, sample_every=4096, sample_rows=64))
    )
    frames = [Frame(f"pump-{n * n}", 1e3 * at, {"a": 1.0}) for at in range(128) for n in range(9)]
    found = [decode_excerpt(one) for one in feed(pipeline, frames).excerpts]
    assert len(found) == 9
    assert len({block.times_us.size for block in found}) > 6


def test_an_alert_takes_the_rows_before_it_and_those_before_its_end() -> None:
    pipeline = machine(
        magnitude(),
        settings=settings_of(ExcerptPlan(history_rows=0, sample_every=100_000, sample_rows=8)),
    )
    levels = [0.0] * 200 + [5.0] * 9 + [0.0] * 9
    frames = [Frame("x", 1000.0 * at, {"a": level}) for at, level in enumerate(levels)]
    opened, closed = (decode_excerpt(one) for one in feed(pipeline, frames).excerpts)
    assert opened.reason == closed.reason == "alert"
    assert opened.times_us[-1] == 201_000_000
    assert closed.times_us[-1] == 211_000_000
    assert opened.times_us.size == closed.times_us.size == 128
    assert opened.values[-3:, 0].tolist() == [0.0, 5.0, 5.0]


def test_channels_without_a_value_yet_are_left_out_and_gaps_are_nan() -> None:
    plan = ExcerptPlan(history_rows=4, sample_every=1000, sample_rows=8)
    pipeline = machine(settings=settings_of(plan))
    rows = [{"a": 1.0, "b": None}, {"a": None}, {"a": 2.0}, {"a": 3.0}, {"b": 4.0}]
    frames = [Frame("x", 1000.0 * at, values) for at, values in enumerate(rows)]
    found = [decode_excerpt(one) for one in feed(pipeline, frames).excerpts]
    (block,) = found
    assert block.channels == ("a",)
    assert np.isnan(block.values[:, 0]).tolist() == [False, True, False, False]


@pytest.mark.parametrize("channels", [1, 1024])
def test_wide_assets_send_blocks_that_the_wire_takes(channels: int) -> None:
    pipeline = machine(
        settings=settings_of(ExcerptPlan(history_rows=256, sample_every=1000, sample_rows=8))
    )
    rng = np.random.default_rng(0)
    frames = [
        Frame("x", 1000.0 * at, {f"c{c}": float(v) for c, v in enumerate(row)})
        for at, row in enumerate(rng.standard_normal((256, channels)))
    ]
    blocks = [decode_excerpt(one) for one in feed(pipeline, frames).excerpts]
    assert sum(block.times_us.size for block in blocks) >= 256


def histories(cut: int) -> dict[str, list[float]]:
    plan = ExcerptPlan(256, 100_000, 8, assets_at_once=2)
    pipeline = machine(settings=settings_of(plan))
    frames = [
        Frame(f"pump-{n}", 1e3 * at, {"a": float(at)}) for at in range(1200) for n in range(5)
    ]
    sent: dict[str, list[float]] = {}
    for at in range(0, len(frames), cut):
        for block in map(decode_excerpt, feed(pipeline, frames[at : at + cut]).excerpts):
            sent.setdefault(block.asset, []).extend(block.values[:, 0].tolist())
    return sent


def test_histories_take_turns_and_stay_whole() -> None:
    sent = histories(cut=1000)
    assert all(np.diff(rows).tolist() == [1.0] * 255 for rows in sent.values())
    first = [sent[f"pump-{n}"][0] for n in range(5)]
    assert first[:2] == [0, 0]
    assert 255 <= first[2] <= first[3] <= first[4] < 900
    assert histories(cut=7) == histories(cut=1) == sent
