"""Steps 5 and 6: from surprise to verdicts to episodes, one open episode an asset at most.

Only assets that are or just were anomalous cost anything: everything else is one comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch
from gateway.score.fleet import Scores
from wire.contract import AlertRule, ModelCard

__all__ = ["Change", "Episode", "Episodes", "Peak"]

CRITICAL = 3.0
"""An episode is critical when its peak surprise is this many times the threshold's."""

Phase: TypeAlias = Literal["opened", "updated", "closed"]


@dataclass(frozen=True, slots=True)
class Peak:
    """The most surprising frame of an episode."""

    time_us: int
    surprise: float
    """-log10 p."""
    score: float
    card: ModelCard
    """Model that scored it."""
    streams: tuple[int, ...]
    values: tuple[float, ...]
    scores: tuple[float, ...]


@dataclass(slots=True)
class Episode:
    """A contiguous anomalous span of one asset."""

    asset: int
    start_us: int
    last_us: int
    end_us: int
    rows: int
    threshold_p: float
    peak: Peak
    severity: Literal["warning", "critical"] = "warning"


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an episode, with the episode as it was at that moment."""

    phase: Phase
    episode: Episode
    frame: int
    """Index in the batch of the frame that caused it."""


@dataclass(slots=True)
class _Watch:
    """Debounce of one asset that is not calm."""

    recent: int = 0
    """Bit i: the frame i frames ago was anomalous."""
    calm: int = 0
    """Frames in a row at or above `p_clear`."""
    onset_us: int = 0
    """Oldest anomalous frame that `recent` still knows."""
    rows: int = 0
    peak: Peak | None = None
    episode: Episode | None = None


@dataclass(slots=True)
class Episodes:
    """Opens, updates and closes episodes by the rule of the model that scored."""

    cards: list[ModelCard]
    """Model of each slot."""
    watches: dict[int, _Watch] = field(default_factory=dict)
    watched: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    @property
    def open_count(self) -> int:
        """Number of open episodes."""
        return sum(watch.episode is not None for watch in self.watches.values())

    def step(self, batch: Batch, scores: Scores, assets: int) -> list[Change]:
        """Take in the frames of a batch in order; return what changed, in order."""
        self.watched = grown(self.watched, assets)
        clear = np.array([-np.log10(card.alert.p_clear) for card in self.cards])
        hot = scores.surprise >= clear[scores.decider]
        if not hot.any() and not self.watches:
            return []
        self.watched[batch.asset[hot]] = True
        changes: list[Change] = []
        starts = np.concatenate([[0], np.cumsum(batch.width)])
        for frame in np.flatnonzero(self.watched[batch.asset]):
            readings = slice(int(starts[frame]), int(starts[frame + 1]))
            changes.extend(self._take(batch, scores, int(frame), readings))
        self.watched[batch.asset] = False
        self.watched[list(self.watches)] = True
        return changes

    def _take(self, batch: Batch, scores: Scores, frame: int, readings: slice) -> list[Change]:
        asset = int(batch.asset[frame])
        watch = self.watches.setdefault(asset, _Watch())
        card = self.cards[scores.decider[frame]]
        rule = card.alert
        level, now = float(scores.surprise[frame]), int(batch.time_us[frame])
        anomalous = level >= -np.log10(rule.p)
        if anomalous:
            if not watch.recent and not watch.episode:
                watch.onset_us, watch.rows, watch.peak = now, 0, None
            watch.rows += 1
            if watch.peak is None or level > watch.peak.surprise:
                watch.peak = _peak(batch, scores, frame, readings, card)
        watch.recent = (watch.recent << 1 | anomalous) & ((1 << rule.n) - 1)
        watch.calm = 0 if level >= -np.log10(rule.p_clear) else watch.calm + 1
        phase = self._advance(asset, watch, rule, now)
        change = Change(phase, replace(watch.episode), frame) if phase and watch.episode else None
        if phase == "closed":
            watch.episode, watch.recent, watch.peak = None, 0, None
        if not watch.recent and not watch.episode:
            del self.watches[asset]
        return [change] if change else []

    def _advance(self, asset: int, watch: _Watch, rule: AlertRule, now: int) -> Phase | None:
        if watch.episode is None:
            if watch.recent.bit_count() < rule.k or watch.peak is None:
                return None
            watch.episode = Episode(asset, watch.onset_us, now, now, watch.rows, rule.p, watch.peak)
            watch.episode.severity = _severity(watch.episode)
            return "opened"
        episode = watch.episode
        episode.last_us = now
        if watch.calm == 0:
            episode.end_us, episode.rows = now, watch.rows
        if watch.peak is not None and watch.peak.surprise > episode.peak.surprise:
            episode.peak = watch.peak
        if watch.calm >= rule.clear:
            return "closed"
        worse = _severity(episode)
        if worse != episode.severity and episode.severity == "warning":
            episode.severity = worse
            return "updated"
        return None


def _peak(batch: Batch, scores: Scores, frame: int, readings: slice, card: ModelCard) -> Peak:
    return Peak(
        time_us=int(batch.time_us[frame]),
        surprise=float(scores.surprise[frame]),
        score=float(scores.frame[frame]),
        card=card,
        streams=tuple(batch.stream[readings].tolist()),
        values=tuple(batch.value[readings].tolist()),
        scores=tuple(scores.reading[readings].tolist()),
    )


def _severity(episode: Episode) -> Literal["warning", "critical"]:
    threshold = -np.log10(episode.threshold_p)
    return "critical" if episode.peak.surprise >= CRITICAL * threshold else "warning"
