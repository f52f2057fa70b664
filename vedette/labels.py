"""Holds alerts against what recordings say was wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sensors.recording import Recording
from wire.messages import AlertEvent

__all__ = ["judge"]


def judge(events: Iterable[AlertEvent], recordings: Sequence[Recording]) -> list[dict[str, object]]:
    """Return one entry an alert, in order of opening: asset, start, end, model, version, label.

    Times are milliseconds since 1970-01-01 UTC, end is None while it is open. `hit` means that the
    span of the alert meets a labelled one of its asset, `miss` that it was a false alarm.
    """
    spans = {recording.asset: recording.labels for recording in recordings}
    newest = {event.alertid: event.data for event in events}
    judged: list[dict[str, object]] = []
    for alert in newest.values():
        start_us, end_us = alert.start_ms * 1000, (alert.end_ms or alert.last_ms) * 1000
        met = any(
            label.start_us <= end_us and label.end_us >= start_us
            for label in spans.get(alert.asset, ())
        )
        judged.append(
            {
                "asset": alert.asset,
                "start": alert.start_ms,
                "end": alert.end_ms,
                "model": alert.model.id,
                "version": alert.model.version,
                "label": "hit" if met else "miss",
            }
        )
    return judged
