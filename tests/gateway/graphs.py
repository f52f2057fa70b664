"""Small models for tests: exact scores, and what a gateway must refuse."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloud.train.draft import GraphDraft
from cloud.train.history import AssetHistory
from cloud.train.subpca import FleetSettings, fit_fleet
from gateway.models.shelf import BUNDLED, load_blocking
from gateway.score.scorer import Scorer
from wire.contract import (
    ANY,
    AlertRule,
    Calibration,
    Channel,
    Golden,
    ModelCard,
    ModelFile,
    StateSpec,
    encode_array,
    write_model,
)

RULE = AlertRule(p=1e-3, p_clear=1e-2, k=2, n=3, clear=3)
DECADES = Calibration(scores=(0.0, 10.0), p=(1.0, 1e-10), xi=0.0, beta=0.4342944819)
"""-log10 p equals the score, from 0 on."""


def card(**changes: object) -> ModelCard:
    given = {
        "schema": "vedette-model/1",
        "id": "plain",
        "version": 1,
        "task": "anomaly",
        "window": 1,
        "channels": (Channel(ANY),),
        "assets": (ANY,),
        "calibration": DECADES,
        "alert": RULE,
    }
    return ModelCard(**(given | changes))  # type: ignore[arg-type]


def magnitude(**changes: object) -> ModelFile:
    """Per stream, without state: the score is |x| of the newest row."""
    made = card(**changes)
    draft = GraphDraft("magnitude")
    x = draft.input("x", [made.window, 1])
    newest = draft.op("Slice", x, *_slice(draft, made.window))
    size = draft.op("Abs", newest)
    draft.output(draft.op("Reshape", size, draft.table("flat", np.array([-1]))), "score", [])
    return write_model(draft.to_bytes(), made)


def joint(channels: Sequence[str], *, window: int = 1, **changes: object) -> ModelFile:
    """Per asset: the score is the largest |x| of the newest row, each channel's its own."""
    width = len(channels)
    named = tuple(Channel(name) for name in channels)
    made = card(**({"id": "joint", "window": window, "channels": named} | changes))
    draft = GraphDraft("joint")
    x = draft.input("x", [window, width])
    if not made.any_asset:
        draft.input("asset", [], dtype="int64")
        draft.nodes.append(_unused(draft))
    newest = draft.op("Slice", x, *_slice(draft, window))
    size = draft.op("Abs", draft.op("Reshape", newest, draft.table("rows", np.array([-1, width]))))
    draft.output(size, "score_ch", [width])
    draft.output(draft.op("ReduceMax", size, axes=[1], keepdims=0), "score", [])
    return write_model(draft.to_bytes(), made)


def mean_mask(*, window: int = 4, **changes: object) -> ModelFile:
    """Per stream: the score is the share of observed rows in the window."""
    made = card(**({"id": "mask", "window": window} | changes))
    draft = GraphDraft("mask")
    draft.input("x", [window, 1])
    mask = draft.input("mask", [window, 1])
    draft.nodes.append(_unused(draft, "x"))
    draft.output(draft.op("ReduceMean", mask, axes=[1, 2], keepdims=0), "score", [])
    return write_model(draft.to_bytes(), made)


def counter(*, golden: Golden | None = None, init: float = 0.0, **changes: object) -> ModelFile:
    """Per stream with a state that counts: the score is how many readings came before."""
    made = card(
        **({"id": "counter", "states": (StateSpec("n", (1,), init),), "golden": golden} | changes)
    )
    draft = GraphDraft("counter")
    x = draft.input("x", [1, 1])
    n = draft.input("state.n", [1])
    nought = draft.op(
        "Mul", draft.op("Reshape", x, draft.table("one", np.array([-1, 1]))), draft.scalar(0.0)
    )
    before = draft.op("Add", n, nought)
    draft.output(draft.op("Add", before, draft.scalar(1.0)), "state.n.out", [1])
    draft.output(draft.op("Reshape", before, draft.table("flat", np.array([-1]))), "score", [])
    return write_model(draft.to_bytes(), made)


def not_a_number(**changes: object) -> ModelFile:
    """Scores 0/0."""
    draft = GraphDraft("nan")
    x = draft.input("x", [1, 1])
    flat = draft.op("Reshape", x, draft.table("flat", np.array([-1])))
    draft.output(draft.op("Div", flat, draft.op("Mul", flat, draft.scalar(0.0))), "score", [])
    return write_model(draft.to_bytes(), card(**({"id": "nan"} | changes)))


def one_score_for_all(**changes: object) -> ModelFile:
    """Declares a score a row, and gives one for the whole batch."""
    draft = GraphDraft("lump")
    x = draft.input("x", [1, 1])
    draft.output(draft.op("ReduceMax", x, keepdims=0, axes=[1, 2]), "row", [])
    draft.nodes.pop()
    draft.outputs.pop()
    flat = draft.op("Reshape", x, draft.table("flat", np.array([-1])))
    draft.output(draft.op("ReduceMax", flat, keepdims=1), "score", [])
    return write_model(draft.to_bytes(), card(**({"id": "lump"} | changes)))


def lookup(*, rows: int = 5, **changes: object) -> ModelFile:
    """Per stream: the score is 0, looked up at place |x| of a table; fails beyond its `rows`."""
    draft = GraphDraft("lookup")
    x = draft.input("x", [1, 1])
    flat = draft.op("Abs", draft.op("Reshape", x, draft.table("flat", np.array([-1]))))
    table = draft.table("table", np.zeros(rows, np.float32))
    draft.output(draft.op("Gather", table, draft.op("Cast", flat, to=7)), "score", [])
    return write_model(draft.to_bytes(), card(**({"id": "lookup"} | changes)))


def joint_lookup(channels: Sequence[str], *, rows: int = 5, **changes: object) -> ModelFile:
    """Per asset: as `lookup`, at the place that the largest channel names."""
    width = len(channels)
    made = card(**({"id": "joint", "channels": tuple(map(Channel, channels))} | changes))
    draft = GraphDraft("joint_lookup")
    x = draft.input("x", [1, width])
    flat = draft.op("Reshape", x, draft.table("rows", np.array([-1, width])))
    first = draft.op("ReduceMax", flat, axes=[1], keepdims=0)
    table = draft.table("table", np.zeros(rows, np.float32))
    place = draft.op("Cast", draft.op("Abs", first), to=7)
    draft.output(draft.op("Gather", table, place), "score", [])
    return write_model(draft.to_bytes(), made)


def company(**changes: object) -> ModelFile:
    """Scores a row by the mean of the whole batch."""
    draft = GraphDraft("company")
    x = draft.input("x", [1, 1])
    flat = draft.op("Reshape", x, draft.table("flat", np.array([-1])))
    mean = draft.op("ReduceMean", flat, keepdims=1)
    draft.output(draft.op("Sub", flat, mean), "score", [])
    return write_model(draft.to_bytes(), card(**({"id": "company"} | changes)))


def golden_of(x: NDArray[np.float32], score: Sequence[float]) -> Golden:
    return Golden(
        x=encode_array(x),
        score=encode_array(np.array(score, np.float32)),
        rows=len(score),
        atol=1e-3,
    )


@functools.cache
def bundled() -> bytes:
    return BUNDLED.read_bytes()


def load(file: ModelFile | bytes, *, name: str = "test", most_rows: int = 256) -> Scorer:
    data = file if isinstance(file, bytes) else file.data
    return load_blocking(data, name=name, most_rows=most_rows)


CHANNELS = ("flow", "pressure", "temperature")


def coupled_rows(seed: int, rows: int) -> NDArray[np.float32]:
    """Three channels that follow one slow load, each in its own unit, with a little noise."""
    rng = np.random.default_rng(seed)
    load = np.sin(np.arange(rows) / 25) + 0.01 * rng.standard_normal(rows).cumsum()
    mixed = load[:, None] * [1.0, -0.5, 2.0] + 0.1 * rng.standard_normal((rows, 3))
    return (mixed * [10, 0.5, 3] + [100 + seed, 2, 60]).astype(np.float32)


@functools.cache
def fleet(assets: int = 3, version: int = 1, window: int = 8) -> ModelFile:
    """A real Sub-PCA fleet over `asset-0` and so on, with the channels of `CHANNELS`."""
    histories = [
        AssetHistory(f"asset-{index}", CHANNELS, (coupled_rows(index, 400),))
        for index in range(assets)
    ]
    settings = FleetSettings(window=window, components=3)
    return fit_fleet(histories, model_id="fleet", version=version, settings=settings)


def _slice(draft: GraphDraft, window: int) -> tuple[str, str, str]:
    return (
        draft.table("from", np.array([window - 1])),
        draft.table("to", np.array([window])),
        draft.table("axis", np.array([1])),
    )


def _unused(draft: GraphDraft, name: str = "asset") -> object:
    from onnx import helper

    return helper.make_node("Identity", [name], [f"{name}_unused"])
