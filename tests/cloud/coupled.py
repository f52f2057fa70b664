"""Data with a known structure, blocks made of it, and a runtime for models."""

from __future__ import annotations

from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from cloud.train.history import AssetHistory
from wire.blocks import SKETCH_POINTS, ExcerptBlock, SummaryBlock, SummaryColumns
from wire.codec import encode_json
from wire.contract import ModelFile
from wire.messages import Alert, AlertChannel, AlertEvent, ModelRef

CHANNELS = ("flow", "pressure", "temperature")


def coupled_rows(seed: int, rows: int) -> NDArray[np.float32]:
    """Three channels that follow one slow load, each in its own unit, with a little noise."""
    rng = np.random.default_rng(seed)
    load = np.sin(np.arange(rows) / 25) + 0.3 * rng.standard_normal(rows).cumsum() / 30
    mixed = load[:, None] * [1.0, -0.5, 2.0] + 0.1 * rng.standard_normal((rows, 3))
    return (mixed * [10, 0.5, 3] + [100 + seed, 2, 60]).astype(np.float32)


def coupled(count: int, *, rows: int = 600) -> list[AssetHistory]:
    return [
        AssetHistory(f"pump-{index}", CHANNELS, (coupled_rows(index, rows),))
        for index in range(count)
    ]


def session_of(model: ModelFile) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.data, options)


def excerpt(
    seq: int, values: NDArray[np.float32], *, first: int = 0, **changes: str
) -> ExcerptBlock:
    """Rows of `values`, one a second from row `first` on."""
    times_us = (np.arange(values.shape[0]) + first) * 1_000_000
    names = {"gateway": "g1", "epoch": "e1", "asset": "pump-0", **changes}
    return ExcerptBlock(
        **names, seq=seq, channels=CHANNELS, reason="history", times_us=times_us, values=values
    )


def summary(seq: int, *, rows: int = 2, epoch: str = "e1") -> SummaryBlock:
    """Summaries of one stream, one a minute, each with two knots."""
    ones = np.ones(rows)
    start_us = np.arange(rows, dtype=np.int64) * 60_000_000
    columns = SummaryColumns(
        asset=np.zeros(rows, np.uint16),
        channel=np.zeros(rows, np.uint16),
        start_us=start_us,
        end_us=start_us + 59_000_000,
        count=np.full(rows, 60, np.uint32),
        missing=np.zeros(rows, np.uint32),
        **{
            name: ones.astype(np.float32)
            for name in ("mean", "variance", "low", "high", "first", "last", "error")
        },
        knots=np.full(rows, 2, np.uint16),
        knot_us=np.tile([0, 59_000_000], rows).astype(np.int64),
        knot_value=np.arange(2 * rows, dtype=np.float32),
        sketch=np.zeros((rows, SKETCH_POINTS), np.uint8),
    )
    return SummaryBlock("g1", epoch, seq, ("pump-0",), ("flow",), columns)


def alert_payload(
    alertid: str,
    state: Literal["opened", "updated", "closed"],
    *,
    last_ms: float = 1.0,
    epoch: str = "",
    seq: int = 0,
) -> bytes:
    """A phase of an alert about pump-0, as gateway g1 sends it; seq 0 = without a number."""
    alert = Alert(
        gateway="g1",
        asset="pump-0",
        state=state,
        severity="warning",
        start_ms=1.0,
        peak_ms=1.0,
        last_ms=last_ms,
        rows=3,
        score=9.0,
        p=1e-6,
        threshold_p=1e-4,
        model=ModelRef("robust", 1),
        channels=(AlertChannel("flow", 1.0, 9.0),),
        text="flow is unusual",
    )
    event = AlertEvent(
        id=f"{alertid}/{state}/{last_ms}",
        source="vedette/g1",
        time="2026-01-01T00:00:00Z",
        data=alert,
        alertid=alertid,
        subject="pump-0",
        epoch=epoch,
        seq=seq,
    )
    return encode_json(event)
