"""One model in service: an ONNX Runtime session plus its recurrent state for every unit.

A unit is what the model scores by itself: a stream, or an asset of its table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from gateway.arrays import grown
from gateway.errors import ModelRefusedError
from wire.contract import ModelCard, ModelFile, decode_array

__all__ = ["CHUNK", "Scorer"]

LARGEST_SCORE = 1e30
CHUNK = 64
"""Rows of every call: matrix kernels round differently for different batch sizes."""


@dataclass(slots=True)
class Scorer:
    """Scores rows in padded chunks of fixed size, so that a row's bits depend on the row alone."""

    file: ModelFile
    session: Any
    states: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """Input name -> [units, ...]."""
    outputs: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, file: ModelFile) -> Scorer:
        """Create the session and run the golden vectors; raise ModelRefusedError on any failure."""
        name = f"{file.card.id} {file.card.version}"
        try:
            session = onnxruntime.InferenceSession(
                file.data, _session_options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no other base
            raise ModelRefusedError(name, "load", str(error)) from None
        scorer = cls(file, session)
        scorer.outputs = [output.name for output in session.get_outputs()]
        for state in file.card.states:
            scorer.states[f"state.{state.name}"] = np.zeros((0, *state.shape), np.float32)
        scorer._self_test(name)
        return scorer

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.file.card

    @property
    def takes_mask(self) -> bool:
        """Whether the graph has the optional input `mask`."""
        return any(tensor.name == "mask" for tensor in self.file.outline.inputs)

    def waves(
        self, rows: NDArray[np.int64], rank: NDArray[np.int64]
    ) -> Iterator[NDArray[np.int64]]:
        """Split rows into calls: one by rank where state must advance in between, else one."""
        deepest = int(rank.max(initial=-1)) if self.states else min(rows.size, 1) - 1
        if deepest <= 0:
            yield from [rows] if rows.size else []
            return
        for wave in range(deepest + 1):
            yield rows[rank == wave]

    def hold(self, units: int) -> None:
        """Make room for the state of this many units."""
        for spec in self.card.states:
            name = f"state.{spec.name}"
            self.states[name] = grown(self.states[name], units, fill=spec.init)

    def score(
        self,
        units: NDArray[np.int64],
        x: NDArray[np.float32],
        *,
        mask: NDArray[np.float32] | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Score x [n, window, channels] of distinct `units` [n] and advance their state.

        `rows` [n] are the units' rows in the graph's per-asset tables. Returns the scores [n] and,
        where the model gives them, the scores a channel [n, channels]. A score that is no number
        counts as +1e30, and such a state is not taken over: one reading never spoils the next.
        """
        feed: dict[str, NDArray[Any]] = {"x": x}
        if mask is not None and self.takes_mask:
            feed["mask"] = mask
        if rows is not None:
            feed["asset"] = rows
        for name, state in self.states.items():
            feed[name] = state[units]
        if not x.shape[0]:
            return np.zeros(0, np.float32), None
        results = self._run(feed, x.shape[0])
        for name, state in self.states.items():
            _advance(state, units, results[f"{name}.out"])
        by_channel = results.get("score_ch")
        return _bounded(results["score"]), None if by_channel is None else _bounded(by_channel)

    def _run(self, feed: dict[str, NDArray[Any]], count: int) -> dict[str, NDArray[Any]]:
        parts = [self._run_chunk(feed, at, min(at + CHUNK, count)) for at in range(0, count, CHUNK)]
        if len(parts) == 1:
            return dict(zip(self.outputs, parts[0], strict=True))
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return dict(zip(self.outputs, joined, strict=True))

    def _run_chunk(
        self, feed: dict[str, NDArray[Any]], first: int, last: int
    ) -> list[NDArray[Any]]:
        size = last - first
        if size == CHUNK:
            return list(self.session.run(None, {name: a[first:last] for name, a in feed.items()}))
        padded = {name: _padded(array[first:last]) for name, array in feed.items()}
        return [out[:size] for out in self.session.run(None, padded)]

    def _self_test(self, name: str) -> None:
        self._expect_shapes(name)
        golden = self.card.golden
        rows = golden.rows if golden else 2
        shape = (rows, self.card.window, len(self.card.channels))
        x = decode_array(golden.x, shape) if golden else np.zeros(shape, np.float32)
        table = np.array((golden.asset if golden else ()) or [0] * rows, np.int64)
        self.hold(rows)
        try:
            score, _ = self.score(
                np.arange(rows),
                x,
                mask=np.ones_like(x),
                rows=None if self.card.any_asset else table,
            )
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no other base
            raise ModelRefusedError(name, "run", str(error)) from None
        finite = bool((np.abs(score) < LARGEST_SCORE).all())
        _expect(name, "not_finite", finite, f"numbers below {LARGEST_SCORE:g}", score)
        if golden:
            wanted = decode_array(golden.score, (rows,))
            close = np.abs(score - wanted) <= golden.atol * np.maximum(1, np.abs(wanted))
            _expect(name, "golden", bool(close.all()), f"scores {wanted}", score)
        self._forget()

    def _expect_shapes(self, name: str) -> None:
        """Run two full chunks that share their first row; raise ModelRefusedError.

        Every output must have a row for each row of the batch, which depends on that row alone.
        """
        first, second = (self._probe(name, fill) for fill in (0.0, 1.0))
        width = len(self.card.channels)
        wanted = {"score": (CHUNK,), "score_ch": (CHUNK, width)}
        wanted |= {f"state.{spec.name}.out": (CHUNK, *spec.shape) for spec in self.card.states}
        for output, got, other in zip(self.outputs, first, second, strict=True):
            shape = wanted.get(output)
            if shape is None:
                continue
            _expect(name, "shape", got.shape == shape, f"{output} of shape {shape}", got.shape)
            alone = np.array_equal(got[0], other[0], equal_nan=True)
            _expect(name, "batch", alone, f"{output} of a row by itself", f"{got[0]}, {other[0]}")

    def _probe(self, name: str, fill: float) -> list[NDArray[Any]]:
        shape = (CHUNK, self.card.window, len(self.card.channels))
        feed: dict[str, NDArray[Any]] = {"x": np.full(shape, fill, np.float32)}
        feed["x"][0] = 0.0
        if self.takes_mask:
            feed["mask"] = np.ones(shape, np.float32)
        if not self.card.any_asset:
            feed["asset"] = np.zeros(CHUNK, np.int64)
        for spec in self.card.states:
            feed[f"state.{spec.name}"] = np.full((CHUNK, *spec.shape), spec.init, np.float32)
        try:
            return list(self.session.run(None, feed))
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no other base
            raise ModelRefusedError(name, "run", str(error)) from None

    def _forget(self) -> None:
        for spec in self.card.states:
            self.states[f"state.{spec.name}"] = np.zeros((0, *spec.shape), np.float32)


def _advance(
    state: NDArray[np.float32], units: NDArray[np.int64], after: NDArray[np.float32]
) -> None:
    finite = np.isfinite(after)
    if not finite.all():
        sound = finite.reshape(units.size, -1).all(axis=1)
        units, after = units[sound], after[sound]
    state[units] = after


def _bounded(score: NDArray[np.float32]) -> NDArray[np.float32]:
    if (np.abs(score) < LARGEST_SCORE).all():
        return score
    number = np.nan_to_num(score, nan=LARGEST_SCORE)
    return np.clip(number, -LARGEST_SCORE, LARGEST_SCORE)


def _padded(array: NDArray[Any]) -> NDArray[Any]:
    full = np.zeros((CHUNK, *array.shape[1:]), array.dtype)
    full[: len(array)] = array
    return full


def _session_options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _expect(name: str, reason: str, holds: bool, expected: str, got: object) -> None:  # noqa: FBT001 - an assertion's condition
    if not holds:
        raise ModelRefusedError(name, reason, f"expected {expected}, got {got}")
