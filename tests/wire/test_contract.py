"""The model contract: what fits reads back as written, each misfit is refused in words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import ModelProto, TensorProto, helper

from wire.contract import (
    ANY,
    BANNED_OPS,
    MAX_MODEL_BYTES,
    MAX_NODES,
    METADATA_KEY,
    MICROSOFT_OPS,
    AlertRule,
    Calibration,
    Channel,
    Golden,
    ModelCard,
    StateSpec,
    decode_array,
    encode_array,
    read_model,
    write_model,
)
from wire.errors import ContractError
from wire.onnxfile import append_metadata

WINDOW, WIDTH = 4, 2
FLOAT, INT64, DOUBLE = TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE
Tensors = dict[str, tuple[int, list[int | str]]]


def card(**changes: object) -> ModelCard:
    fitting = ModelCard(
        schema="vedette-model/1",
        id="m",
        version=3,
        task="anomaly",
        window=WINDOW,
        channels=(Channel("flow", "l/min", 0.0, 40.0), Channel("pressure")),
        assets=(ANY,),
        calibration=Calibration((1.0, 2.0), (0.1, 0.01), 0.2, 0.5),
        alert=AlertRule(0.001, 0.01, 2, 3, 5),
    )
    return msgspec.structs.replace(fitting, **changes)


INPUTS: Tensors = {"x": (FLOAT, ["b", WINDOW, WIDTH])}
OUTPUTS: Tensors = {"score": (FLOAT, ["b"])}


def model(
    *,
    inputs: Tensors = INPUTS,
    outputs: Tensors = OUTPUTS,
    ops: list[tuple[str, str]] | None = None,
    opsets: dict[str, int] | None = None,
    ir_version: int = 10,
) -> ModelProto:
    nodes = [
        helper.make_node(op, ["x"], ["score"], domain=domain)
        for domain, op in ([("", "Identity")] if ops is None else ops)
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
    )
    imports = [
        helper.make_opsetid(*item) for item in ({"": 17} if opsets is None else opsets).items()
    ]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version)


def file(**parts: object) -> bytes:
    return model(**parts).SerializeToString()


def changed(change: Callable[[ModelProto], object]) -> bytes:
    proto = model()
    change(proto)
    return proto.SerializeToString()


def refusal(data: bytes, stamp: ModelCard | None = None) -> ContractError:
    with pytest.raises(ContractError, match="expected") as caught:
        write_model(data, stamp or card())
    assert len(str(caught.value)) < 600
    return caught.value


X = np.arange(2 * WINDOW * WIDTH, dtype=np.float32).reshape(2, WINDOW, WIDTH)
SCORE = np.array([0.5, np.inf], np.float32)
GOLDEN = Golden(x=encode_array(X), score=encode_array(SCORE), rows=2, atol=0.001)


def test_a_written_model_reads_back_as_it_was() -> None:
    inputs = INPUTS | {
        "mask": (FLOAT, ["b", WINDOW, WIDTH]),
        "asset": (INT64, ["b"]),
        "state.h": (FLOAT, ["b", 3, 5]),
    }
    outputs = OUTPUTS | {
        "score_ch": (FLOAT, ["b", WIDTH]),
        "state.h.out": (FLOAT, ["b", 3, 5]),
        "embed": (FLOAT, ["b", 7]),
    }
    stamp = card(
        assets=("pump-1", "pump-2"),
        states=(StateSpec("h", (3, 5), -1.5),),
        golden=msgspec.structs.replace(GOLDEN, asset=(1, 0)),
        warmup=20,
        period_s=1.0,
        provenance={"method": "tést"},
        cost_us={"x86": 0.9},
    )
    plain = file(inputs=inputs, outputs=outputs, opsets={"ai.onnx": 21, "ai.onnx.ml": 4})
    written = write_model(plain, stamp)
    again = read_model(written.data)
    assert again == written
    assert again.card == stamp
    assert again.sha256 == hashlib.sha256(again.data).hexdigest()
    assert written.data.startswith(plain)
    assert not again.card.per_stream
    assert not again.card.any_asset


def test_one_star_stands_for_every_stream_and_every_asset() -> None:
    inputs: Tensors = {"x": (FLOAT, ["b", WINDOW, 1])}
    read = write_model(file(inputs=inputs), card(channels=(Channel(ANY),)))
    assert read.card.per_stream
    assert read.card.any_asset


@pytest.mark.parametrize("op", sorted(MICROSOFT_OPS))
def test_quantised_operators_are_allowed(op: str) -> None:
    data = file(ops=[("com.microsoft", op)], opsets={"": 13, "com.microsoft": 1})
    assert write_model(data, card()).outline.ops == {("com.microsoft", op)}


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
@pytest.mark.parametrize("op", sorted(BANNED_OPS))
def test_banned_operators_are_refused(op: str, domain: str) -> None:
    error = refusal(file(ops=[(domain, op)]))
    assert error.reason == "ops"
    assert f"{domain}:{op}" in error.detail


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (file()[:-3], "truncated", "expected"),
        (b"garbage", "not_onnx", "expected a protobuf field"),
        (file(ir_version=3), "ir_version", "4 to 10, got 3"),
        (file(ir_version=11), "ir_version", "4 to 10, got 11"),
        (file(opsets={"": 12}), "opset", "ai.onnx 13 to 21, .* got ai.onnx 12"),
        (file(opsets={"": 22}), "opset", "got ai.onnx 22"),
        (file(opsets={"": 17, "ai.onnx.ml": 5}), "opset", "got ai.onnx.ml 5"),
        (file(opsets={"": 17, "com.microsoft": 2}), "opset", "got com.microsoft 2"),
        (file(opsets={"": 17, "org.example": 1}), "opset", "got org.example 1"),
        (file(opsets={"ai.onnx.ml": 3}), "opset", r"of each domain in use, got none of \[''\]"),
        (changed(lambda m: m.ClearField("opset_import")), "opset", "each domain in use"),
        (file(ops=[("", "Abs")] * (MAX_NODES + 1)), "nodes", "at most 4096, got 4097"),
        (file(ops=[("", "")]), "ops", "operators of docs/protocol.md, got :"),
        (
            file(ops=[("com.microsoft", "Attention")], opsets={"com.microsoft": 1}),
            "ops",
            "got com.microsoft:Attention",
        ),
        (
            changed(lambda m: m.graph.node[0].attribute.add(name="a").g.node.add()),
            "subgraphs",
            "expected no subgraphs",
        ),
        (
            changed(lambda m: m.graph.initializer.add(data_location=1)),
            "external_data",
            "expected all data in the file",
        ),
        (
            changed(lambda m: m.graph.node[0].attribute.add(name="a").t.external_data.add()),
            "external_data",
            "expected all data in the file",
        ),
        (changed(lambda m: m.graph.sparse_initializer.add()), "external_data", "in the file"),
        (changed(lambda m: m.functions.add(name="f")), "functions", "no functions"),
        (changed(lambda m: m.training_info.add()), "functions", "no functions or training"),
        (file(inputs={}), "tensors", "a tensor 'x', got none"),
        (file(inputs={"x": (DOUBLE, ["b", 4, 2])}), "tensors", "x: float32, got type 11"),
        (file(inputs={"x": (FLOAT, [1, 4, 2])}), "tensors", "x: a symbolic first dimension"),
        (file(inputs={"x": (FLOAT, [])}), "tensors", "x: a symbolic first dimension"),
        (file(inputs={"x": (FLOAT, ["b", 5, 2])}), "tensors", r"\('batch', 4, 2\), got \('b', 5"),
        (file(inputs={"x": (FLOAT, ["b", "w", 2])}), "tensors", r"got \('b', 'w', 2\)"),
        (file(inputs={"x": (FLOAT, ["b", 4])}), "tensors", r"got \('b', 4\)"),
        (file(inputs=INPUTS | {"mask": (FLOAT, ["b", 4, 1])}), "tensors", "mask: "),
        (file(inputs=INPUTS | {"asset": (INT64, ["b"])}), "inputs", "of the contract, got asset"),
        (file(inputs=INPUTS | {"ctx.a": (FLOAT, ["b"])}), "inputs", "got ctx.a"),
        (file(inputs=INPUTS | {"state.h": (FLOAT, ["b"])}), "inputs", "got state.h"),
        (file(outputs={}), "tensors", "a tensor 'score', got none"),
        (file(outputs={"score": (FLOAT, ["b", 1])}), "tensors", r"score: \('batch',\), got"),
        (file(outputs={"score": (INT64, ["b"])}), "tensors", "score: float32, got int64"),
        (file(outputs=OUTPUTS | {"score_ch": (FLOAT, ["b", 3])}), "tensors", "score_ch: "),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(ContractError, match=f"^{reason}: .*{words}"):
        write_model(data, card())


def golden(**changes: object) -> ModelCard:
    return card(golden=msgspec.structs.replace(GOLDEN, **changes))


def calibration(**changes: object) -> ModelCard:
    return card(calibration=msgspec.structs.replace(card().calibration, **changes))


def alert(**changes: object) -> ModelCard:
    return card(alert=msgspec.structs.replace(card().alert, **changes))


FLOW = Channel("flow")


@pytest.mark.parametrize(
    ("stamp", "reason", "words"),
    [
        (card(schema="vedette-model/2"), "card", "$.schema"),
        (card(id="a/b"), "card", "$.id"),
        (card(id=".."), "card", "$.id"),
        (card(version=-1), "card", "$.version"),
        (card(version=2**63), "card", "$.version"),
        (card(task="forecast"), "card", "$.task"),
        (card(window=0), "card", "$.window"),
        (card(window=4097), "card", "$.window"),
        (card(window=4096, channels=tuple(Channel(f"c{i}") for i in range(17))), "window", "69632"),
        (card(channels=()), "card", "$.channels"),
        (card(channels=(FLOW, FLOW)), "channels", "distinct names, got ['flow', 'flow']"),
        (card(channels=(FLOW, Channel(ANY))), "channels", "'*' alone"),
        (card(channels=(FLOW, Channel(""))), "card", "$.channels"),
        (card(channels=(FLOW, Channel("a", "", 2.0, 2.0))), "channels", "a: min < max, got (2.0"),
        (card(assets=()), "card", "$.assets"),
        (card(assets=("a", "a")), "assets", "distinct names, got 2"),
        (card(assets=("a", ANY)), "assets", "'*' alone"),
        (card(assets=("a", "b/c")), "assets", "got ['b/c']"),
        (card(assets=("a", "b")), "tensors", "a tensor 'asset', got none"),
        (card(stride=2), "stride", "every reading is scored), got 2"),
        (card(stride=0), "card", "$.stride"),
        (card(period_s=-1.0), "card", "$.period_s"),
        (card(warmup=-1), "card", "$.warmup"),
        (card(causal=False), "card", "$.causal"),
        (card(lookahead=1), "card", "$.lookahead"),
        (card(scaling="zscore"), "card", "$.scaling"),
        (card(states=(StateSpec("h", (2,)),)), "tensors", "a tensor 'state.h', got none"),
        (card(states=(StateSpec("h", (2,)),) * 2), "states", "distinct names"),
        (card(states=(StateSpec("h", (1_000_000,) * 9),)), "states", "<= 65536 numbers a row"),
        (card(states=(StateSpec("h", (0,)),)), "card", "$.states"),
        (card(states=(StateSpec("a b", (1,)),)), "card", "$.states"),
        (card(states=(StateSpec("h", (1,), float("nan")),)), "card", "$.states"),
        (alert(p=0.0), "card", "$.alert.p"),
        (alert(p=0.1), "alert", "p <= p_clear"),
        (alert(p_clear=1.0), "card", "$.alert.p_clear"),
        (alert(k=4), "alert", "k <= n"),
        (alert(n=33), "card", "$.alert.n"),
        (alert(clear=0), "card", "$.alert.clear"),
        (calibration(scores=()), "calibration", "2 or more finite scores, one p each, got (0, 2)"),
        (calibration(scores=(1.0,), p=(0.1,)), "calibration", "got (1, 1)"),
        (calibration(scores=(1.0, float("inf"))), "card", "$.calibration.scores"),
        (calibration(scores=(1.0, 1.0)), "calibration", "rising scores, got [1. 1.]"),
        (calibration(scores=(1e308, -1e308)), "calibration", "rising scores"),
        (calibration(p=(0.1, 0.1)), "calibration", "falling p in (0, 1]"),
        (calibration(p=(1.1, 0.1)), "calibration", "falling p in (0, 1]"),
        (calibration(p=(0.1, 0.0)), "calibration", "falling p in (0, 1]"),
        (calibration(xi=-0.1), "calibration", "xi in 0..1, got -0.1"),
        (calibration(xi=1.1), "calibration", "xi in 0..1, got 1.1"),
        (calibration(beta=0.0), "calibration", "finite beta above 0, got 0.0"),
        (calibration(beta=float("inf")), "card", "$.calibration.beta"),
        (golden(rows=3), "golden", "expected float32 (3, 4, 2)"),
        (golden(x="AAA"), "golden", "expected float32"),
        (golden(x="AAAA"), "golden", "expected float32"),
        (golden(score=encode_array(X)), "golden", "expected float32 (2,)"),
        (golden(asset=(0, 0)), "golden", "0 asset rows, got 2"),
        (golden(atol=-1.0), "card", "$.golden.atol"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(stamp: ModelCard, reason: str, words: str) -> None:
    error = refusal(file(), stamp)
    assert error.reason == reason
    assert words in error.detail


@pytest.mark.parametrize(("rows", "words"), [((0,), "2 asset rows, got 1"), ((0, 2), "below 2")])
def test_golden_asset_rows_point_into_the_tables(rows: tuple[int, ...], words: str) -> None:
    data = file(inputs=INPUTS | {"asset": (INT64, ["b"])})
    error = refusal(data, msgspec.structs.replace(golden(asset=rows), assets=("a", "b")))
    assert error.reason == "golden"
    assert words in error.detail


def test_a_state_must_come_out_again() -> None:
    data = file(inputs=INPUTS | {"state.h": (FLOAT, ["b", 2])})
    error = refusal(data, card(states=(StateSpec("h", (2,)),)))
    assert error.detail == "expected a tensor 'state.h.out', got none"


def stamped(text: str) -> bytes:
    return append_metadata(file(), METADATA_KEY, text)


CARD = msgspec.json.encode(card()).decode()


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"", "size", "1 to 16777216 bytes, got 0"),
        (b"\0" * (MAX_MODEL_BYTES + 1), "size", "got 16777217"),
        (file(), "card", "one metadata_props['vedette'], got 0"),
        (append_metadata(stamped(CARD), METADATA_KEY, CARD), "card", "got 2"),
        (stamped(""), "card", "expected a card of vedette-model/1"),
        (stamped("[]"), "card", "got `array`"),
        (stamped("{}"), "card", "missing required field"),
        (stamped(CARD[:-1]), "card", "truncated"),
        (stamped(CARD[:-1] + ',"later":1}'), "card", "unknown field `later`"),
        (stamped(CARD[:-1] + ',"later":' + "[" * 90_000), "card", "unknown field"),
        (stamped(CARD.replace('"xi"', '"XI":1,"xi"')), "card", "unknown field `XI`"),
        (stamped(CARD.replace('"version":3', '"version":1e400')), "card", "version"),
        (stamped(CARD.replace('"xi":0.2', '"xi":NaN')), "card", "malformed"),
    ],
)
def test_a_file_without_a_readable_card_is_refused(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(ContractError, match="expected") as caught:
        read_model(data)
    assert caught.value.reason == reason
    assert words in caught.value.detail


def test_a_graph_is_stamped_once() -> None:
    with pytest.raises(ContractError, match="expected a graph without a card"):
        write_model(write_model(file(), card()).data, card())


def outcome(data: bytes) -> str:
    try:
        read_model(data)
    except ContractError as error:
        return "a reason" if "expected" in error.detail else error.detail
    return "a model"


WRITTEN = write_model(file(), card()).data


@given(st.binary() | st.binary().map(file().__add__))
def test_arbitrary_bytes_raise_nothing_but_contract_errors(data: bytes) -> None:
    assert outcome(data) == "a reason"


@given(st.data())
def test_changed_bytes_raise_nothing_but_contract_errors(data: st.DataObject) -> None:
    changed_file = bytearray(WRITTEN)
    for _ in range(data.draw(st.integers(1, 3))):
        changed_file[data.draw(st.integers(0, len(WRITTEN) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(bytes(changed_file)) in {"a reason", "a model"}


def test_a_file_cut_short_anywhere_is_refused() -> None:
    assert {outcome(WRITTEN[:end]) for end in range(len(WRITTEN))} == {"a reason"}


@given(st.text())
def test_any_text_as_a_card_raises_nothing_but_contract_errors(text: str) -> None:
    assert outcome(stamped(text)) == "a reason"


@given(hnp.arrays("<f4", hnp.array_shapes(max_dims=3, max_side=5)))
def test_golden_arrays_survive_bit_for_bit(array: np.ndarray) -> None:
    back = decode_array(encode_array(array), array.shape)
    assert back.tobytes() == array.tobytes()
    assert back.dtype == np.float32


@given(st.text(), st.lists(st.integers(0, 5), max_size=3).map(tuple))
def test_any_text_as_a_golden_array_fits_or_is_refused(text: str, shape: tuple[int, ...]) -> None:
    try:
        assert decode_array(text, shape).shape == shape
    except ContractError as error:
        assert error.reason == "golden"  # noqa: PT017 - both outcomes are right
