"""Steps 5 and 6: from surprise to verdicts to episodes, one open episode an asset at most.

Only assets that are or just were anomalous cost anything: everything else is one comparison.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.batch import Batch
from gateway.score.fleet import Scores
from wire.contract import AlertRule, ModelCard
from wire.messages import ModelRef

__all__ = ["LONGEST", "Change", "Episode", "Episodes", "Peak", "Watch"]

CRITICAL = 3.0
"""An episode is critical when its peak surprise is this many times the threshold's."""
LONGEST = 32
"""The largest `n` of an alert rule; rules may differ from frame to frame."""

Phase: TypeAlias = Literal["opened", "updated", "closed"]


@dataclass(frozen=True, slots=True)
class Peak:
    """The most surprising frame of an episode."""

    time_us: int
    surprise: float
    """-log10 p."""
    score: float
    model: ModelRef
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
class Watch:
    """Debounce of one asset that is not calm."""

    recent: deque[Peak | None] = field(default_factory=lambda: deque(maxlen=LONGEST))
    """The newest frames while no episode is open, None = not anomalous."""
    calm: int = 0
    """Frames in a row at or above `p_clear`."""
    episode: Episode | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to watch."""
        return self.episode is None and not any(self.recent)


@dataclass(slots=True)
class Episodes:
    """Opens, updates and closes episodes by the rule of the model that scored."""

    cards: list[ModelCard]
    """Model of each slot."""
    watches: dict[int, Watch] = field(default_factory=dict)
    watched: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

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
        watch = self.watches.setdefault(asset, Watch())
        card = self.cards[scores.decider[frame]]
        level = float(scores.surprise[frame])
        watch.calm = 0 if level >= -np.log10(card.alert.p_clear) else watch.calm + 1
        peak = None
        if level >= -np.log10(card.alert.p):
            peak = _peak(batch, scores, frame, readings, card)
        if watch.episode is None:
            phase = _begin(watch, asset, peak, card.alert)
        else:
            phase = _go_on(watch, watch.episode, peak, int(batch.time_us[frame]), card.alert)
        change = Change(phase, replace(watch.episode), frame) if phase and watch.episode else None
        if phase == "closed":
            watch.episode = None
        if watch.is_over:
            del self.watches[asset]
        return [change] if change else []


def _begin(watch: Watch, asset: int, peak: Peak | None, rule: AlertRule) -> Phase | None:
    """Open an episode once `k` of the last `n` frames are anomalous, this one among them."""
    watch.recent.append(peak)
    marks = [mark for mark in list(watch.recent)[-rule.n :] if mark]
    if peak is None or len(marks) < rule.k:
        return None
    worst = max(marks, key=lambda mark: mark.surprise)
    start_us, now = marks[0].time_us, peak.time_us
    watch.episode = Episode(asset, start_us, now, now, len(marks), rule.p, worst)
    watch.episode.severity = _severity(watch.episode)
    watch.recent.clear()
    return "opened"


def _go_on(
    watch: Watch, episode: Episode, peak: Peak | None, now: int, rule: AlertRule
) -> Phase | None:
    """Take one more frame into an open episode."""
    episode.last_us = now
    if watch.calm == 0:
        episode.end_us = now
    if peak is not None:
        episode.rows += 1
        episode.peak = max(episode.peak, peak, key=lambda mark: mark.surprise)
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
        model=ModelRef(card.id, card.version),
        streams=tuple(batch.stream[readings].tolist()),
        values=tuple(batch.value[readings].tolist()),
        scores=tuple(scores.reading[readings].tolist()),
    )


def _severity(episode: Episode) -> Literal["warning", "critical"]:
    threshold = -np.log10(episode.threshold_p)
    return "critical" if episode.peak.surprise >= CRITICAL * threshold else "warning"
