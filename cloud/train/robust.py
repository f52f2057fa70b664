"""The default model of every gateway: robust level and jump of one stream, learned as it flows.

Location is a clipped (Huber 1964) exponential mean; scales are high quantiles of the deviation
from it and of the step from reading to reading: first from their mean, then followed by
multiplicative increments (Yazidi and Hammer, IEEE Trans. Cybernetics 2017). Nothing is assumed
about unit or offset.

    python -m cloud.train.robust gateway/bundled/robust.onnx
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud.train.calibration import alert_rule, calibrate
from cloud.train.draft import GraphDraft
from cloud.train.streams import mixture
from wire.contract import (
    Channel,
    Golden,
    ModelCard,
    ModelFile,
    StateSpec,
    encode_array,
    write_model,
)

__all__ = ["STATE", "build_robust", "score_streams"]

STATE = 6
"""Elements of the state: readings seen, base, location, previous, level scale, step scale."""

RATE = 1 / 512
CLIMB = 0.05
ABOVE = 0.01
NORMAL_QUANTILE = 2.5758
LARGEST = 1e30
LIMITS = (("low", -LARGEST), ("high", LARGEST))
START = 1 / 8
RESOLUTION = 1e-6
SMALLEST = 1e-30
MAX_SCORE = 1e6
SILENT = 8.0
SETTLED = 64.0
MEAN_TO_QUANTILE = 3.228  # of |z|, z normal: 0.99 quantile 2.5758 over mean 0.7979
LEAP = 8.0
WARMUP = 64
SEED = 20_240_101


def build_robust() -> ModelFile:
    """Build the model `robust`, version 1; the same library versions give the same bytes."""
    streams = mixture(np.random.Generator(np.random.PCG64(SEED)))
    scores = score_streams(streams)
    card = ModelCard(
        schema="vedette-model/1",
        id="robust",
        version=1,
        task="anomaly",
        window=1,
        channels=(Channel("*"),),
        assets=("*",),
        warmup=WARMUP,
        states=(StateSpec("s", (STATE,)),),
        calibration=calibrate(scores[:, 2 * 512 :]),
        alert=alert_rule(1e-5, k=2, n=3, clear=16),
        provenance={"data": f"cloud.train.streams.mixture, PCG64({SEED})"},
        golden=_golden(),
    )
    return write_model(_graph(), card)


def score_streams(streams: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score `[streams, readings]` one reading after the other with the reference recursion."""
    state = np.zeros((streams.shape[0], STATE))
    scores = np.empty_like(streams)
    for column in range(streams.shape[1]):
        scores[:, column], state = _step(streams[:, column], state)
    return scores


def _step(
    x: NDArray[np.float64], state: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One reading of each stream in float64: the meaning of the graph, operation by operation."""
    n, base, location, previous, scales = np.split(state, [1, 2, 3, 4], axis=1)
    x = np.clip(x[:, None], -LARGEST, LARGEST)
    base = np.where(n < 1, x, base)
    y = x - base
    floor = RESOLUTION * np.abs(base + location) + SMALLEST
    moves = y - np.concatenate([location, previous], axis=1)
    sizes, reach = np.abs(moves), np.maximum(scales, floor)
    worst = NORMAL_QUANTILE * np.max(sizes / reach, axis=1, keepdims=True)
    score = np.where(n < SILENT, 0.0, np.minimum(worst, MAX_SCORE))
    early = 1 / (n + 1)
    rate, climb = np.maximum(early, RATE), np.maximum(early, CLIMB)
    location = location + rate * np.clip(moves[:, :1], -reach[:, :1], reach[:, :1])
    settling = n < SETTLED
    target = np.minimum(sizes * MEAN_TO_QUANTILE, reach * LEAP)
    settled = scales + (target - scales) / np.maximum(n, 1)
    moved = scales * np.where(sizes > scales, 1 + climb, 1 - climb * ABOVE)
    fresh = sizes * np.where(settling, MEAN_TO_QUANTILE, START)
    scales = np.where(scales > floor, np.where(settling, settled, moved), fresh)
    return score[:, 0], np.concatenate([n + 1, base, location, y, scales], axis=1)


def _graph() -> bytes:
    draft = GraphDraft("robust")
    x = draft.op("Reshape", draft.input("x", [1, 1]), draft.table("row", np.array([-1, 1])))
    parts = draft.split(draft.input("state.s", [STATE]), [1, 1, 2, 2])
    score, after = _step_nodes(draft, x, parts)
    draft.output(draft.op("Reshape", score, draft.table("flat", np.array([-1]))), "score", [])
    draft.output(draft.op("Concat", *after, axis=1), "state.s.out", [STATE])
    return draft.to_bytes()


def _step_nodes(draft: GraphDraft, x: str, state: list[str]) -> tuple[str, list[str]]:
    """Write `_step`, line by line."""
    op, scalar = draft.op, draft.scalar
    n, base, references, scales = state
    location, _ = draft.split(references, [1, 1])
    limits = [draft.table(name, np.array(value)) for name, value in LIMITS]
    x = op("Clip", x, *limits)
    base = op("Where", op("Less", n, scalar(1.0)), x, base)
    y = op("Sub", x, base)
    magnitude = op("Abs", op("Add", base, location))
    floor = op("Add", op("Mul", magnitude, scalar(RESOLUTION)), scalar(SMALLEST))
    moves = op("Sub", y, references)
    sizes, reach = op("Abs", moves), op("Max", scales, floor)
    worst = op("ReduceMax", op("Div", sizes, reach), axes=[1], keepdims=1)
    score = op("Min", op("Mul", worst, scalar(NORMAL_QUANTILE)), scalar(MAX_SCORE))
    score = op("Where", op("Less", n, scalar(SILENT)), scalar(0.0), score)
    seen = op("Add", n, scalar(1.0))
    early = op("Div", scalar(1.0), seen)
    rate, climb = op("Max", early, scalar(RATE)), op("Max", early, scalar(CLIMB))
    clipped, _ = draft.split(op("Max", op("Min", moves, reach), op("Neg", reach)), [1, 1])
    location = op("Add", location, op("Mul", rate, clipped))
    up = op("Add", climb, scalar(1.0))
    down = op("Sub", scalar(1.0), op("Mul", climb, scalar(ABOVE)))
    settling = op("Less", n, scalar(SETTLED))
    mean_based = op("Mul", sizes, scalar(MEAN_TO_QUANTILE))
    target = op("Min", mean_based, op("Mul", reach, scalar(LEAP)))
    change = op("Div", op("Sub", target, scales), op("Max", n, scalar(1.0)))
    moved = op("Mul", scales, op("Where", op("Greater", sizes, scales), up, down))
    learned = op("Where", settling, op("Add", scales, change), moved)
    fresh = op("Where", settling, mean_based, op("Mul", sizes, scalar(START)))
    scales = op("Where", op("Greater", scales, floor), learned, fresh)
    return score, [seen, base, location, y, scales]


def _golden() -> Golden:
    """Four first readings: silent by design, whatever their size."""
    x = np.array([0.0, -1.5, 1e9, 3e38], np.float32)
    zeros = encode_array(np.zeros(4, np.float32))
    return Golden(x=encode_array(x), score=zeros, rows=4, atol=0.0)


def main(arguments: list[str]) -> int:
    """Write the model to the path given; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m cloud.train.robust OUT.onnx\n")
        return 2
    model = build_robust()
    Path(arguments[0]).write_bytes(model.data)
    sys.stdout.write(f"{arguments[0]}: {len(model.data)} bytes, sha256 {model.sha256}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
