"""The model contract `vedette-model/1`: read it from, write it into, and check an ONNX file."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from wire.errors import ContractError
from wire.messages import Count, Name, Text
from wire.onnxfile import OnnxOutline, TensorInfo, append_metadata, read_outline
from wire.topics import NAME

__all__ = [
    "ANY",
    "MAX_MODEL_BYTES",
    "AlertRule",
    "Calibration",
    "Channel",
    "Golden",
    "ModelCard",
    "ModelFile",
    "StateSpec",
    "decode_array",
    "encode_array",
    "read_model",
    "write_model",
]

SCHEMA = "vedette-model/1"
METADATA_KEY = "vedette"
MAX_MODEL_BYTES = 16 * 1024 * 1024
MAX_NODES = 4096
MAX_ROW_NUMBERS = 65_536
IR_VERSIONS = range(4, 11)
OPSETS = {"": range(13, 22), "ai.onnx.ml": range(1, 5), "com.microsoft": range(1, 2)}
OPSETS_TEXT = "ai.onnx 13 to 21, ai.onnx.ml 1 to 4 or com.microsoft 1"
BANNED_OPS = frozenset(
    [
        "Loop",
        "Scan",
        "If",
        "SequenceMap",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Multinomial",
        "Bernoulli",
        "ConstantOfShape",
        "Expand",
        "Tile",
        "Resize",
        "Range",
        "Upsample",
        "Dropout",
        "HannWindow",
        "HammingWindow",
        "BlackmanWindow",
        "MelWeightMatrix",
    ]
)
MICROSOFT_OPS = frozenset(
    [
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeMatMul",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QLinearAdd",
        "QLinearMul",
        "QLinearSigmoid",
        "QLinearLeakyRelu",
        "QGemm",
        "QLinearConv",
    ]
)
ANY = "*"
"""As the only channel: the model scores each stream by itself. As the only asset: all assets."""

Positive = Annotated[int, Meta(ge=1, le=1_000_000)]


class Channel(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One column of `x`."""

    name: Text
    """Channel name, or `*`."""
    unit: str = ""
    """Unit of the values fed in; empty = as they come."""
    min: float | None = None
    """Lower end of the physical range, in `unit`; null = none known."""
    max: float | None = None
    """Upper end of the physical range, in `unit`; null = none known."""


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """Score to p-value: table up to its last entry, generalised-Pareto tail beyond.

    p(s) = p_last (1 + xi (s - s_last) / beta)^(-1/xi), exp(-(s - s_last) / beta) for xi = 0
    (Pickands 1975).
    """

    scores: tuple[float, ...]
    """Rising scores (no unit)."""
    p: tuple[float, ...]
    """Falling probabilities in 0..1 of a higher score in normal operation, one a score."""
    xi: float
    """Shape of the tail (no unit), 0 to 1."""
    beta: float
    """Scale of the tail, in units of the score, above 0."""


class AlertRule(Struct, frozen=True, forbid_unknown_fields=True):
    """From p-values to episodes."""

    p: Annotated[float, Meta(gt=0, lt=1)]
    """A time stamp with a smaller p-value is anomalous."""
    p_clear: Annotated[float, Meta(gt=0, lt=1)]
    """Hysteresis: an open episode goes on while p-values stay below this (>= `p`)."""
    k: Annotated[int, Meta(ge=1, le=32)]
    """Anomalous time stamps (count) among the last `n` that open an episode."""
    n: Annotated[int, Meta(ge=1, le=32)]
    """Length of that window (count)."""
    clear: Annotated[int, Meta(ge=1, le=100_000)]
    """Time stamps (count) in a row at or above `p_clear` that close the episode."""


class StateSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One recurrent tensor: input `state.NAME`, output `state.NAME.out`."""

    name: Name
    """NAME."""
    shape: tuple[Positive, ...]
    """Shape of one row."""
    init: float = 0.0
    """Value of every element at the start (no unit)."""


class Golden(Struct, frozen=True, forbid_unknown_fields=True):
    """Inputs with the scores that the maker of the model saw."""

    x: str
    """Base64 of float32 [rows, window, channels]."""
    score: str
    """Base64 of float32 [rows]."""
    rows: Positive
    """Count of rows."""
    atol: Annotated[float, Meta(ge=0, le=1)]
    """Largest allowed difference of a score, relative to max(1, |score|)."""
    asset: tuple[int, ...] = ()
    """Row of the per-asset tables for each row; empty without input `asset`."""


class ModelCard(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """`metadata_props["vedette"]`: everything a gateway must know about the graph."""

    schema: Literal["vedette-model/1"]
    """Version of this contract."""
    id: Name
    """Name of the model."""
    version: Count
    """Version number; higher is newer."""
    task: Literal["anomaly"]
    """What the output means."""
    window: Annotated[int, Meta(ge=1, le=4096)]
    """Rows (count) of `x`, oldest first; the last one is now."""
    channels: Annotated[tuple[Channel, ...], Meta(min_length=1, max_length=4096)]
    """Columns of `x`, in order; a single `*` = every stream by itself."""
    assets: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=100_000)]
    """Row names of the in-graph per-asset tables, or a single `*` = any asset."""
    calibration: Calibration
    """Score to p-value."""
    alert: AlertRule
    """P-value to episode."""
    stride: Positive = 1
    """Rows (count) between two scores; 1 = every reading."""
    period_s: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds between rows the model was made for; 0 = any."""
    warmup: Count = 0
    """Readings (count) of a stream whose scores raise no alert yet."""
    states: tuple[StateSpec, ...] = ()
    """Recurrent tensors."""
    scaling: Literal["graph", "none"] = "graph"
    """Where values are scaled."""
    causal: Literal[True] = True
    """No score looks ahead."""
    lookahead: Literal[0] = 0
    """Rows (count) a score looks ahead."""
    provenance: dict[str, str] = {}
    """Free text: what it was made from."""
    compression: dict[str, str] = {}
    """Free text: how it was made smaller."""
    cost_us: dict[str, float] = {}
    """Microseconds a row by device."""
    golden: Golden | None = None
    """Self-test."""

    @property
    def per_stream(self) -> bool:
        """Whether the model scores each stream by itself."""
        return self.channels[0].name == ANY

    @property
    def any_asset(self) -> bool:
        """Whether the model has no per-asset tables."""
        return self.assets[0] == ANY


@dataclass(frozen=True, slots=True)
class ModelFile:
    """An ONNX file that meets the contract."""

    card: ModelCard
    data: bytes
    sha256: str
    outline: OnnxOutline


def read_model(data: bytes) -> ModelFile:
    """Read and check a file; raise ContractError with what was expected and what came."""
    if not 0 < len(data) <= MAX_MODEL_BYTES:
        raise ContractError("size", f"expected 1 to {MAX_MODEL_BYTES} bytes, got {len(data)}")
    outline = read_outline(data)
    card = _read_card(outline)
    _check_graph(outline)
    _check_card(card)
    _check_tensors(card, outline)
    _check_golden(card)
    return ModelFile(card, data, hashlib.sha256(data).hexdigest(), outline)


def write_model(data: bytes, card: ModelCard) -> ModelFile:
    """Stamp a graph that has no card yet with `card`; raise ContractError if it does not fit."""
    if any(key == METADATA_KEY for key, _ in read_outline(data).metadata):
        raise ContractError("card", "expected a graph without a card, got one that has it")
    text = msgspec.json.encode(card).decode()
    return read_model(append_metadata(data, METADATA_KEY, text))


def encode_array(array: NDArray[np.float32]) -> str:
    """Base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def decode_array(text: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Undo `encode_array`; raise ContractError when the length does not fit `shape`."""
    try:
        flat = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
        return flat.reshape(shape).astype(np.float32)
    except ValueError as error:
        raise ContractError("golden", f"expected float32 {shape}, got {error}") from None


def _read_card(outline: OnnxOutline) -> ModelCard:
    cards = [value for key, value in outline.metadata if key == METADATA_KEY]
    if len(cards) != 1:
        raise ContractError(
            "card", f"expected one metadata_props[{METADATA_KEY!r}], got {len(cards)}"
        )
    try:
        return msgspec.json.decode(cards[0], type=ModelCard)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ContractError("card", f"expected a card of {SCHEMA}: {error}") from None


def _check_graph(outline: OnnxOutline) -> None:
    _expect("ir_version", outline.ir_version in IR_VERSIONS, "4 to 10", outline.ir_version)
    for domain, version in outline.opsets:
        known = OPSETS.get(_plain(domain), range(0))
        _expect("opset", version in known, OPSETS_TEXT, f"{domain or 'ai.onnx'} {version}")
    imported = {_plain(domain) for domain, _ in outline.opsets}
    missing = {_plain(domain) for domain, _ in outline.ops} - imported
    _expect("opset", not missing, "an opset of each domain in use", f"none of {sorted(missing)}")
    _expect("nodes", outline.nodes <= MAX_NODES, f"at most {MAX_NODES}", outline.nodes)
    _expect("subgraphs", not outline.has_subgraphs, "no subgraphs", "a node with a graph")
    _expect("external_data", not outline.has_external_data, "all data in the file", "external data")
    _expect("functions", not outline.has_functions, "no functions or training info", "some")
    refused = sorted(f"{domain}:{op}" for domain, op in outline.ops if not _is_allowed(domain, op))
    _expect("ops", not refused, "operators of docs/protocol.md", ", ".join(refused[:8]))


def _is_allowed(domain: str, op: str) -> bool:
    if domain == "com.microsoft":
        return op in MICROSOFT_OPS
    return domain in {"", "ai.onnx", "ai.onnx.ml"} and bool(op) and op not in BANNED_OPS


def _plain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _check_card(card: ModelCard) -> None:
    _check_channels(card.channels)
    _check_assets(card.assets)
    numbers = card.window * len(card.channels)
    _expect(
        "window", numbers <= MAX_ROW_NUMBERS, f"window x channels <= {MAX_ROW_NUMBERS}", numbers
    )
    _check_states(card.states)
    _expect("stride", card.stride == 1, "1 (every reading is scored)", card.stride)
    _expect("alert", card.alert.p <= card.alert.p_clear, "p <= p_clear", card.alert)
    _expect("alert", card.alert.k <= card.alert.n, "k <= n", card.alert)
    _check_calibration(card.calibration)


def _check_channels(channels: tuple[Channel, ...]) -> None:
    names = [channel.name for channel in channels]
    _expect("channels", len(set(names)) == len(names), "distinct names", names[:8])
    _expect("channels", ANY not in names or len(names) == 1, "'*' alone", names[:8])
    for channel in channels:
        rising = channel.min is None or channel.max is None or channel.min < channel.max
        _expect("channels", rising, f"{channel.name}: min < max", (channel.min, channel.max))


def _check_assets(assets: tuple[str, ...]) -> None:
    _expect("assets", len(set(assets)) == len(assets), "distinct names", f"{len(assets)} names")
    _expect("assets", ANY not in assets or len(assets) == 1, "'*' alone", assets[:4])
    odd = [asset for asset in assets if asset != ANY and not NAME.match(asset)]
    _expect("assets", not odd, "1 to 64 of A-Z a-z 0-9 . _ -", odd[:4])


def _check_states(states: tuple[StateSpec, ...]) -> None:
    names = [state.name for state in states]
    _expect("states", len(set(names)) == len(names), "distinct names", names[:8])
    numbers = sum(math.prod(state.shape) for state in states)
    _expect("states", numbers <= MAX_ROW_NUMBERS, f"<= {MAX_ROW_NUMBERS} numbers a row", numbers)


def _check_calibration(calibration: Calibration) -> None:
    scores, p = np.asarray(calibration.scores), np.asarray(calibration.p)
    fits = scores.size == p.size >= 2 and bool(np.isfinite(scores).all())
    _expect("calibration", fits, "2 or more finite scores, one p each", (scores.size, p.size))
    rising = bool((scores[1:] > scores[:-1]).all())
    _expect("calibration", rising, "rising scores", f"{scores[:4]}...")
    falling = bool((p[1:] < p[:-1]).all()) and p[-1] > 0 and p[0] <= 1
    _expect("calibration", falling, "falling p in (0, 1]", f"{p[:4]}...{p[-1]}")
    _expect("calibration", 0 <= calibration.xi <= 1, "xi in 0..1", calibration.xi)
    finite = 0 < calibration.beta < float("inf")
    _expect("calibration", finite, "finite beta above 0", calibration.beta)


def _check_tensors(card: ModelCard, outline: OnnxOutline) -> None:
    inputs = {tensor.name: tensor for tensor in outline.inputs}
    outputs = {tensor.name: tensor for tensor in outline.outputs}
    width = len(card.channels)
    _check_tensor(inputs.pop("x", None), "x", "float32", (card.window, width))
    if "mask" in inputs:
        _check_tensor(inputs.pop("mask"), "mask", "float32", (card.window, width))
    if not card.any_asset:
        _check_tensor(inputs.pop("asset", None), "asset", "int64", ())
    for state in card.states:
        name = f"state.{state.name}"
        _check_tensor(inputs.pop(name, None), name, "float32", state.shape)
        _check_tensor(outputs.get(f"{name}.out"), f"{name}.out", "float32", state.shape)
    _expect("inputs", not inputs, "only inputs of the contract", ", ".join(sorted(inputs)))
    _check_tensor(outputs.get("score"), "score", "float32", ())
    if "score_ch" in outputs:
        _check_tensor(outputs["score_ch"], "score_ch", "float32", (width,))


def _check_golden(card: ModelCard) -> None:
    golden = card.golden
    if golden is None:
        return
    decode_array(golden.x, (golden.rows, card.window, len(card.channels)))
    decode_array(golden.score, (golden.rows,))
    rows = 0 if card.any_asset else golden.rows
    _expect("golden", len(golden.asset) == rows, f"{rows} asset rows", len(golden.asset))
    known = all(0 <= row < len(card.assets) for row in golden.asset)
    _expect("golden", known, f"asset rows below {len(card.assets)}", golden.asset[:8])


def _check_tensor(tensor: TensorInfo | None, name: str, dtype: str, row: tuple[int, ...]) -> None:
    if tensor is None:
        raise ContractError("tensors", f"expected a tensor {name!r}, got none")
    _expect("tensors", tensor.dtype == dtype, f"{name}: {dtype}", tensor.dtype)
    symbolic = bool(tensor.shape) and isinstance(tensor.shape[0], str)
    _expect("tensors", symbolic, f"{name}: a symbolic first dimension", tensor.shape)
    _expect("tensors", tensor.shape[1:] == row, f"{name}: {('batch', *row)}", tensor.shape)


def _expect(reason: str, holds: bool, expected: str, got: object) -> None:  # noqa: FBT001 - an assertion's condition
    if not holds:
        raise ContractError(reason, f"expected {expected}, got {got}")
