"""The snapshot: the whole state of an edge as bytes, and back, bit for bit.

Taking a snapshot only copies arrays; encoding them is left to another thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.directory import Directory
from gateway.durable.journal import seal, unseal
from gateway.episodes import LONGEST, Episode, Peak, Watch
from gateway.errors import StorageError
from gateway.history import History
from gateway.pipeline import Pipeline, PipelineSettings
from gateway.score.scorer import Scorer
from gateway.summary.block import BlockDraft
from wire.blocks import SummaryColumns, concatenate

__all__ = [
    "ArrayState",
    "PipelineState",
    "decode_state",
    "encode_state",
    "pipeline_state",
    "restore_pipeline",
]

LEVEL = 1


class ArrayState(msgspec.Struct, frozen=True, array_like=True):
    """An array: dtype, shape and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: Any
    """Bytes, or, before it is encoded, a contiguous array of its own."""

    @classmethod
    def of(cls, array: NDArray[Any]) -> ArrayState:
        """Copy an array."""
        return cls(array.dtype.str, array.shape, np.array(array, order="C", copy=True))

    def array(self) -> NDArray[Any]:
        """Return a new array of what was stored."""
        return np.frombuffer(self.data, np.dtype(self.dtype)).reshape(self.shape).copy()


class WatchState(msgspec.Struct, frozen=True, array_like=True):
    """Debounce and episode of one asset."""

    asset: int
    recent: tuple[Peak | None, ...]
    calm: int
    episode: Episode | None


class ScorerState(msgspec.Struct, frozen=True, array_like=True):
    """Recurrent state of one model, by its name and version."""

    name: str
    states: dict[str, ArrayState]


class PipelineState(msgspec.Struct, frozen=True, array_like=True):
    """Everything that a pipeline knows, but for the models' files."""

    assets: tuple[str, ...]
    channels: tuple[tuple[str, ...], ...]
    units: tuple[tuple[str, ...], ...]
    streams_of: tuple[tuple[int, ...], ...]
    settings: PipelineSettings
    """Settings that were in force."""
    arrays: dict[str, ArrayState]
    watches: tuple[WatchState, ...]
    block: dict[str, ArrayState]
    """Columns of the summaries that wait to fill a block; empty = none does."""
    block_names: tuple[tuple[str, ...], tuple[str, ...]]
    waiting: tuple[int, ...]
    """Assets whose first excerpt waits for its turn."""
    counts: tuple[int, int]
    """Assets met by the excerpts, and running."""
    scorers: tuple[ScorerState, ...]


def pipeline_state(pipeline: Pipeline) -> PipelineState:
    """Copy the state of a pipeline, between two steps."""
    directory = pipeline.directory
    block, excerpts = pipeline.block, pipeline.excerpts
    parts = concatenate(block.parts) if block.parts else None
    return PipelineState(
        assets=tuple(directory.assets),
        channels=tuple(map(tuple, directory.channels)),
        units=tuple(map(tuple, directory.units)),
        streams_of=tuple(map(tuple, directory.streams_of)),
        settings=pipeline.settings,
        arrays={name: ArrayState.of(array) for name, array in _arrays(pipeline)},
        watches=tuple(_watch_state(*item) for item in pipeline.episodes.watches.items()),
        block={f.name: ArrayState.of(getattr(parts, f.name)) for f in fields(SummaryColumns)}
        if parts
        else {},
        block_names=(tuple(block.assets), tuple(block.channels)),
        waiting=tuple(excerpts.waiting),
        counts=(excerpts.met, excerpts.running),
        scorers=tuple(_scorer_states(pipeline.fleet.scorers)),
    )


def restore_pipeline(pipeline: Pipeline, state: PipelineState, scorers: list[Scorer]) -> None:
    """Bring a new pipeline into a state, with these models in service; raise StorageError.

    Recurrent state goes to the models that have the same name, version and shapes.
    """
    try:
        _restore_directory(pipeline.directory, state)
        arrays = {name: stored.array() for name, stored in state.arrays.items()}
        pipeline.put_in_force(state.settings)
        _restore_history(pipeline, state.settings.most_rows, arrays)
        _restore_summaries(pipeline, state, arrays)
        pipeline.episodes.watches = {one.asset: _watch(one) for one in state.watches}
        pipeline.episodes.watched = np.zeros(len(state.assets), np.bool_)
        pipeline.episodes.watched[list(pipeline.episodes.watches)] = True
        pipeline.fleet.readings = arrays["readings"]
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise StorageError(f"expected a snapshot of this version: {error!r}") from None
    for scorer in (*scorers, pipeline.bundled):
        _restore_scorer(scorer, state.scorers)
    pipeline.install(scorers, readings=arrays["readings"])


def encode_state(state: msgspec.Struct) -> bytes:
    """Encode with a checksum; takes its time for many streams, so call it from a thread."""
    return seal(msgspec.msgpack.encode(state, enc_hook=_bytes_of), level=LEVEL)


def decode_state(data: bytes, kind: type[Any]) -> Any:
    """Undo `encode_state`; raise StorageError when the bytes are not what was written."""
    try:
        return msgspec.msgpack.decode(unseal(data), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageError(f"expected a snapshot: {error}") from None


def _arrays(pipeline: Pipeline) -> Iterable[tuple[str, NDArray[Any]]]:
    directory, history = pipeline.directory, pipeline.history
    assets, streams = directory.asset_count, directory.stream_count
    excerpts, periods = pipeline.excerpts, pipeline.periods
    yield "last_us", pipeline.clocks.last_us[:assets]
    yield "values", history.values[:streams]
    yield "observed", history.observed[:streams]
    yield "times_us", history.times_us[:assets]
    yield "frames", history.frames[:assets]
    yield "born", history.born[:streams]
    yield "first", periods.first[:assets]
    yield "index", periods.index[:assets]
    yield "due", excerpts.due[:assets]
    yield "sent", excerpts.sent[:assets]
    yield "whole", excerpts.whole[:assets]
    yield "readings", pipeline.fleet.readings[:streams]


def _watch_state(asset: int, watch: Watch) -> WatchState:
    episode = replace(watch.episode) if watch.episode else None
    return WatchState(asset, tuple(watch.recent), watch.calm, episode)


def _watch(state: WatchState) -> Watch:
    return Watch(deque(state.recent, maxlen=LONGEST), state.calm, state.episode)


def _scorer_states(scorers: Sequence[Scorer]) -> Iterable[ScorerState]:
    for scorer in scorers:
        if scorer.states:
            states = {name: ArrayState.of(array) for name, array in scorer.states.items()}
            yield ScorerState(scorer.name, states)


def _restore_directory(directory: Directory, state: PipelineState) -> None:
    """Add assets and streams in the order in which they appeared."""
    for name in state.assets:
        directory.asset(name)
    places = {
        stream: (asset, column)
        for asset, streams in enumerate(state.streams_of)
        for column, stream in enumerate(streams)
    }
    for stream in range(len(places)):
        asset, column = places[stream]
        directory.stream(asset, state.channels[asset][column], unit=state.units[asset][column])


def _restore_history(pipeline: Pipeline, rows: int, arrays: dict[str, NDArray[Any]]) -> None:
    history = History(rows)
    for name in ("values", "observed", "times_us", "frames", "born"):
        setattr(history, name, arrays[name])
    pipeline.history = history
    pipeline.clocks.last_us = arrays["last_us"]


def _restore_summaries(
    pipeline: Pipeline, state: PipelineState, arrays: dict[str, NDArray[Any]]
) -> None:
    pipeline.periods.first, pipeline.periods.index = arrays["first"], arrays["index"]
    excerpts = pipeline.excerpts
    excerpts.due, excerpts.sent, excerpts.whole = arrays["due"], arrays["sent"], arrays["whole"]
    excerpts.waiting = deque(state.waiting)
    excerpts.met, excerpts.running = state.counts
    if state.block:
        _restore_block(pipeline.block, state)


def _restore_block(block: BlockDraft, state: PipelineState) -> None:
    columns = SummaryColumns(**{name: stored.array() for name, stored in state.block.items()})
    block.parts, block.count = [columns], int(columns.count.size)
    assets, channels = state.block_names
    block.assets = {name: index for index, name in enumerate(assets)}
    block.channels = {name: index for index, name in enumerate(channels)}


def _restore_scorer(scorer: Scorer, stored: Sequence[ScorerState]) -> None:
    for one in stored:
        if one.name != scorer.name or one.states.keys() != scorer.states.keys():
            continue
        for name, state in one.states.items():
            array = state.array()
            if array.shape[1:] == scorer.states[name].shape[1:]:
                scorer.states[name] = array


def _bytes_of(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"expected an array, got {type(value).__name__}")
