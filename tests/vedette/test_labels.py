"""Alerts against labels."""

from __future__ import annotations

import numpy as np

from sensors.recording import Channel, Chunk, Label, recording_of
from vedette.labels import judge
from wire.messages import Alert, AlertEvent, ModelRef


def alert(phase: str, *, start: float, last: float, end: float | None = None) -> AlertEvent:
    data = Alert(
        gateway="g",
        asset="a",
        state=phase,
        severity="warning",
        start_ms=start,
        peak_ms=start,
        last_ms=last,
        end_ms=end,
        rows=1,
        score=1.0,
        p=1e-5,
        threshold_p=1e-4,
        model=ModelRef("m", 2),
        channels=(),
        text="",
    )
    name = f"alert-{start}"
    return AlertEvent(
        id=f"{name}-{phase}", source="vedette/g", time="", data=data, alertid=name, subject="a"
    )


def test_an_alert_that_meets_a_label_is_a_hit() -> None:
    chunk = Chunk(np.zeros(1, np.int64), np.zeros((1, 1)))
    recording = recording_of(
        chunk,
        asset="a",
        channels=(Channel("x"),),
        origin="test",
        labels=(Label(100_000, 200_000, "leak"),),
    )
    judged = judge(
        [
            alert("opened", start=10, last=11),
            alert("closed", start=10, last=60, end=50),
            alert("opened", start=150, last=151),
            alert("closed", start=150, last=400, end=300),
            alert("opened", start=201, last=202),
        ],
        [recording],
    )
    assert [(entry["start"], entry["end"], entry["label"]) for entry in judged] == [
        (10, 50, "miss"),
        (150, 300, "hit"),
        (201, None, "miss"),
    ]
    assert judged[0]["model"] == "m"
    assert judged[0]["version"] == 2
