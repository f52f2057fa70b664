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
from gateway.errors import ModelFailedError, ModelRefusedError
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
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape of a chunk of each output that the contract knows; others are not asked for."""

    @classmethod
    def load(cls, file: ModelFile) -> Scorer:
        """Create the session and run the golden vectors; raise ModelRefusedError on any failure."""
        name = _name(file.card)
        try:
            session = onnxruntime.InferenceSession(
                file.data, _session_options(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no other base
            raise ModelRefusedError(name, "load", str(error)) from None
        scorer = cls(file, session)
        declared = {output.name for output in session.get_outputs()}
        scorer.shapes = {
            output: shape for output, shape in _shapes(file.card).items() if output in declared
        }
        for state in file.card.states:
            scorer.states[f"state.{state.name}"] = np.zeros((0, *state.shape), np.float32)
        scorer._self_test()
        return scorer

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.file.card

    @property
    def name(self) -> str:
        """Name and version, as errors and reports tell it."""
        return _name(self.card)

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
        Raises ModelFailedError when the graph fails or gives other shapes; the state stays.
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
            return dict(zip(self.shapes, parts[0], strict=True))
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return dict(zip(self.shapes, joined, strict=True))

    def _run_chunk(
        self, feed: dict[str, NDArray[Any]], first: int, last: int
    ) -> list[NDArray[Any]]:
        size = last - first
        if size == CHUNK:
            return self._call({name: array[first:last] for name, array in feed.items()})
        padded = {name: _padded(array[first:last]) for name, array in feed.items()}
        return [out[:size] for out in self._call(padded)]

    def _call(self, feed: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        try:
            results = list(self.session.run(list(self.shapes), feed))
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no other base
            raise ModelFailedError(self.name, "run", str(error)) from None
        for (output, shape), got in zip(self.shapes.items(), results, strict=True):
            if got.shape != shape:
                detail = f"expected {output} of shape {shape}, got {got.shape}"
                raise ModelFailedError(self.name, "shape", detail)
        return results

    def _self_test(self) -> None:
        name = self.name
        self._expect_rows_alone()
        golden = self.card.golden
        rows = golden.rows if golden else 2
        shape = (rows, self.card.window, len(self.card.channels))
        x = decode_array(golden.x, shape) if golden else np.zeros(shape, np.float32)
        table = np.array((golden.asset if golden else ()) or [0] * rows, np.int64)
        self.hold(rows)
        score, _ = self.score(
            np.arange(rows),
            x,
            mask=np.ones_like(x),
            rows=None if self.card.any_asset else table,
        )
        finite = bool((np.abs(score) < LARGEST_SCORE).all())
        _expect(name, "not_finite", finite, f"numbers below {LARGEST_SCORE:g}", score)
        if golden:
            wanted = decode_array(golden.score, (rows,))
            close = np.abs(score - wanted) <= golden.atol * np.maximum(1, np.abs(wanted))
            _expect(name, "golden", bool(close.all()), f"scores {wanted}", score)
        self.forget()

    def _expect_rows_alone(self) -> None:
        """Run two full chunks that share their first row; raise ModelRefusedError.

        Every output's row must depend on the same row of the batch alone.
        """
        first, second = (self._probe(fill) for fill in (0.0, 1.0))
        for output, got, other in zip(self.shapes, first, second, strict=True):
            alone = np.array_equal(got[0], other[0], equal_nan=True)
            wanted, came = f"{output} of a row by itself", f"{got[0]}, {other[0]}"
            _expect(self.name, "batch", alone, wanted, came)

    def _probe(self, fill: float) -> list[NDArray[Any]]:
        shape = (CHUNK, self.card.window, len(self.card.channels))
        feed: dict[str, NDArray[Any]] = {"x": np.full(shape, fill, np.float32)}
        feed["x"][0] = 0.0
        if self.takes_mask:
            feed["mask"] = np.ones(shape, np.float32)
        if not self.card.any_asset:
            feed["asset"] = np.zeros(CHUNK, np.int64)
        for spec in self.card.states:
            feed[f"state.{spec.name}"] = np.full((CHUNK, *spec.shape), spec.init, np.float32)
        return self._call(feed)

    def forget(self) -> None:
        """Drop the recurrent state of every unit."""
        for spec in self.card.states:
            self.states[f"state.{spec.name}"] = np.zeros((0, *spec.shape), np.float32)


def _name(card: ModelCard) -> str:
    return f"{card.id} {card.version}"


def _shapes(card: ModelCard) -> dict[str, tuple[int, ...]]:
    shapes = {"score": (CHUNK,), "score_ch": (CHUNK, len(card.channels))}
    return shapes | {f"state.{spec.name}.out": (CHUNK, *spec.shape) for spec in card.states}


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
