"""From surprise to alerts: k of n, hysteresis, closing, severity, other models meanwhile."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from gateway.batch import Batch
from gateway.episodes import Change, Episodes
from gateway.pipeline import Pipeline
from gateway.score.fleet import Scores
from tests.gateway.graphs import RULE, card, joint, load, magnitude
from tests.gateway.streams import Frame, Run, feed, machine
from wire.codec import decode_json
from wire.contract import AlertRule
from wire.messages import AlertEvent, AssetState

HOT, WARM, CALM = 4.0, 2.5, 0.0
"""Surprise beyond RULE.p, between p and p_clear, below p_clear."""


def step(
    episodes: Episodes, levels: list[float], *, first: int = 0, assets: list[int] | None = None
) -> list[Change]:
    count = len(levels)
    asset = np.array(assets or [0] * count, np.int32)
    times_us = (np.arange(count) + first) * 1_000_000
    ones, stream = np.ones(count, np.int32), np.zeros(count, np.int32)
    batch = Batch(asset, times_us, ones, stream, np.arange(count) + 0.5)
    level = np.array(levels, np.float64)
    score = level.astype(np.float32)
    scores = Scores(score, stream, score, level, stream)
    return episodes.step(batch, scores, int(asset.max()) + 1)


def phases(changes: list[Change]) -> list[tuple[str, int]]:
    return [(change.phase, change.frame) for change in changes]


def test_k_of_n_open_and_a_row_of_calm_frames_closes() -> None:
    episodes = Episodes([card()])
    levels = [CALM, HOT, CALM, HOT, HOT, WARM, CALM, CALM, HOT, CALM, CALM, CALM, CALM]
    changes = step(episodes, levels)
    assert phases(changes) == [("opened", 3), ("closed", 11)]
    opened, closed = (change.episode for change in changes)
    assert (opened.start_us, opened.last_us, opened.rows) == (1_000_000, 3_000_000, 2)
    assert (closed.end_us, closed.last_us, closed.rows) == (8_000_000, 11_000_000, 4)
    assert closed.peak.time_us == 1_000_000
    assert not episodes.watches
    assert not episodes.watched.any()


def test_anomalies_further_apart_than_n_open_nothing_and_start_later_ones_afresh() -> None:
    episodes = Episodes([card(alert=AlertRule(p=1e-3, p_clear=1e-2, k=3, n=5, clear=3))])
    sparse = [HOT, CALM, CALM, HOT, CALM, CALM, HOT, CALM, CALM, HOT]
    assert step(episodes, sparse) == []
    (opened,) = step(episodes, [CALM, HOT, HOT], first=10)
    assert opened.episode.start_us == 9_000_000
    assert opened.episode.rows == 3


def test_between_the_thresholds_an_open_episode_goes_on() -> None:
    episodes = Episodes([card()])
    step(episodes, [HOT, HOT])
    assert step(episodes, [WARM] * 20, first=2) == []
    (closed,) = step(episodes, [CALM] * 3, first=22)
    assert closed.episode.end_us == 21_000_000
    assert closed.episode.rows == 2


def test_severity_rises_once_and_never_falls() -> None:
    episodes = Episodes([card()])
    critical = 3 * -np.log10(RULE.p)
    changes = step(episodes, [HOT, HOT, critical, HOT, critical + 1, CALM, CALM, CALM])
    assert phases(changes) == [("opened", 1), ("updated", 2), ("closed", 7)]
    assert [change.episode.severity for change in changes] == ["warning", "critical", "critical"]
    assert changes[2].episode.peak.surprise == critical + 1
    assert changes[0].episode.peak.surprise == HOT


def test_two_assets_in_one_batch_have_episodes_of_their_own() -> None:
    episodes = Episodes([card()])
    levels = [HOT, CALM, HOT, HOT, CALM, HOT]
    changes = step(episodes, levels, assets=[0, 1, 1, 0, 0, 1])
    assert [(c.phase, c.frame, c.episode.asset) for c in changes] == [
        ("opened", 3, 0),
        ("opened", 5, 1),
    ]
    assert episodes.watched.tolist()[:2] == [True, True]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_cuts_do_not_matter(size: int) -> None:
    rng = np.random.default_rng(3)
    levels = rng.choice([HOT, WARM, CALM], 400, p=[0.2, 0.1, 0.7]).tolist()
    whole = step(Episodes([card()]), levels)
    cut = Episodes([card()])
    found = [
        change
        for first in range(0, 400, size)
        for change in step(cut, levels[first : first + size], first=first)
    ]
    assert [_facts(change) for change in found] == [_facts(change) for change in whole]
    assert len(whole) > 20


def _facts(change: Change) -> tuple[object, ...]:
    """Values at the peak are numbered by batch in `step`; all else must agree."""
    episode = change.episode
    spans = (episode.start_us, episode.last_us, episode.end_us, episode.peak.time_us)
    return (change.phase, *spans, episode.rows, episode.severity)


def test_a_rule_with_a_smaller_k_does_not_open_on_a_calm_frame() -> None:
    strict = AlertRule(p=1e-3, p_clear=1e-2, k=3, n=3, clear=3)
    episodes = Episodes([card(alert=strict)])
    assert step(episodes, [HOT, HOT]) == []
    episodes.cards = [card(version=2, alert=RULE)]
    assert step(episodes, [CALM], first=2) == []
    assert phases(step(episodes, [HOT], first=3)) == [("opened", 0)]


# Alerts


def alerts(run: Run) -> list[AlertEvent]:
    return [decode_json(payload, AlertEvent) for payload in run.alerts]


def stream(levels: list[float], *, asset: str = "pump-1") -> list[Frame]:
    return [Frame(asset, 1e6 + 1000.0 * at, {"a": level}) for at, level in enumerate(levels)]


def with_model(**changes: object) -> Pipeline:
    return machine(magnitude(**changes))


def test_an_alert_keeps_its_id_and_tells_when_what_and_by_which_model() -> None:
    run = feed(with_model(), stream([0, 5, 6, 12, 0, 0, 0, 0]))
    opened, updated, closed = alerts(run)
    assert len({event.alertid for event in (opened, updated, closed)}) == 1
    assert len({event.id for event in (opened, updated, closed)}) == 3
    assert [event.data.state for event in (opened, updated, closed)] == [
        "opened",
        "updated",
        "closed",
    ]
    assert (opened.subject, opened.source) == ("pump-1", "vedette/g1")
    assert opened.time == "1970-01-01T00:16:42.000Z"
    assert (opened.data.start_ms, opened.data.peak_ms) == (1_001_000.0, 1_002_000.0)
    assert (opened.data.model.id, opened.data.model.version) == ("plain", 1)
    assert opened.data.p == pytest.approx(1e-6, rel=1e-4)
    assert opened.data.threshold_p == RULE.p
    assert (opened.data.severity, updated.data.severity) == ("warning", "critical")
    assert closed.data.end_ms == 1_003_000.0
    assert closed.data.text == "pump-1: back to normal after 2 s."
    assert opened.data.text == "pump-1: a is unusual at 6."
    states = [decode_json(payload, AssetState) for payload in run.states]
    assert [(state.state, state.alerts) for state in states] == [
        ("alerting", (opened.alertid,)),
        ("ok", ()),
    ]
    assert [state.since_ms for state in states] == [1_001_000.0, 1_006_000.0]


def test_the_top_channels_come_with_the_largest_first_and_without_missing_ones() -> None:
    pipeline = machine(joint(list("abcde")))
    values = {"a": 4.0, "b": -9.0, "c": None, "d": 4.0, "e": 7.0}
    warm = dict.fromkeys(values, 0.0)
    frames = [Frame("x", 1e6, warm), Frame("x", 1e6 + 1000, values), Frame("x", 1e6 + 2000, values)]
    (event,) = alerts(feed(pipeline, frames))
    assert [(part.name, part.value, part.score) for part in event.data.channels] == [
        ("b", -9.0, 9.0),
        ("e", 7.0, 7.0),
        ("a", 4.0, 4.0),
    ]


def test_a_clock_that_turns_back_in_an_episode_gives_a_message_that_can_be_read() -> None:
    frames = stream([0, 5, 6])
    frames += [Frame("pump-1", 1000.0 * at, {"a": value}) for at, value in enumerate([5, 0, 0, 0])]
    opened, closed = alerts(feed(with_model(), frames))
    assert opened.alertid == closed.alertid
    assert closed.data.text == "pump-1: back to normal after 0 s."


def test_scores_without_bounds_stay_numbers_on_the_wire() -> None:
    run = feed(with_model(), stream([0, 1e18, 1e18]))
    (event,) = alerts(run)
    assert event.data.p == 0 or event.data.p >= 1e-300
    assert msgspec.json.decode(run.alerts[0])["data"]["score"] == 1e18


def test_a_model_swapped_in_while_an_alert_is_open_closes_it_by_its_own_rule() -> None:
    pipeline = with_model()
    first = feed(pipeline, stream([0, 5, 6]))
    rule = AlertRule(p=1e-3, p_clear=1e-2, k=1, n=1, clear=1)
    newer = load(magnitude(version=2, alert=rule))
    pipeline.install([newer])
    second = feed(pipeline, [frame._replace(time_ms=2e6) for frame in stream([9.5, 0])])
    (opened,), (updated, closed) = alerts(first), alerts(second)
    assert updated.data.state == "updated"
    assert closed.alertid == opened.alertid
    assert (opened.data.model.version, closed.data.model.version) == (1, 2)
    assert {score[4] for score in second.scores} == {"plain 2"}


def test_pipelines_that_see_the_same_give_the_same_ids() -> None:
    frames = stream([0, 5, 6, 0, 0, 0])
    runs = [feed(with_model(), frames) for _ in range(2)]
    assert runs[0].alerts == runs[1].alerts
