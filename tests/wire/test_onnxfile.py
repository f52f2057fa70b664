"""The outline reader against the onnx package, and against files made to mislead it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    TensorProto,
    helper,
    load_from_string,
    numpy_helper,
)

from wire.errors import ContractError
from wire.onnxfile import (
    MAX_FIELDS,
    OnnxOutline,
    TensorInfo,
    _encode_varint,
    _field,
    append_metadata,
    read_outline,
)

ELEMENT_NAMES = {
    TensorProto.FLOAT: "float32",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
    TensorProto.DOUBLE: "type 11",
}
texts = st.text(st.characters(codec="utf-8"), max_size=8)
dims = st.lists(st.integers(-3, 2**40) | texts, max_size=4)
value_infos = st.builds(
    helper.make_tensor_value_info, texts, st.sampled_from(sorted(ELEMENT_NAMES)), dims
)
tensors = st.builds(
    lambda name, size: numpy_helper.from_array(np.arange(size, dtype=np.float32), name),
    texts,
    st.integers(0, 9),
)
attributes = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(width=32),
    st.lists(st.integers(-5, 5), min_size=1, max_size=5),
    texts,
    tensors,
)
nodes = st.builds(
    lambda op, domain, values: helper.make_node(
        op, ["x"], ["y"], domain=domain, **{f"a{i}": v for i, v in enumerate(values)}
    ),
    texts,
    st.sampled_from(["", "ai.onnx", "ai.onnx.ml", "com.example"]),
    st.lists(attributes, max_size=3),
)


@st.composite
def models(draw: st.DrawFn) -> ModelProto:
    graph = helper.make_graph(
        draw(st.lists(nodes, max_size=4)),
        draw(texts),
        draw(st.lists(value_infos, max_size=3)),
        draw(st.lists(value_infos, max_size=3)),
        draw(st.lists(tensors, max_size=3)),
    )
    imports = draw(st.lists(st.builds(helper.make_opsetid, texts, st.integers(0, 30)), max_size=3))
    model = helper.make_model(graph, opset_imports=imports, ir_version=draw(st.integers(1, 20)))
    helper.set_model_props(model, draw(st.dictionaries(texts, texts, max_size=3)))
    return model


def tensor_info(entry: object) -> TensorInfo:
    tensor = entry.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in tensor.shape.dim
    )
    return TensorInfo(entry.name, ELEMENT_NAMES[tensor.elem_type], shape)


def outline_by_onnx(model: ModelProto) -> OnnxOutline:
    graph = model.graph
    initialised = {tensor.name for tensor in graph.initializer}
    return OnnxOutline(
        ir_version=model.ir_version,
        opsets=tuple((entry.domain, entry.version) for entry in model.opset_import),
        ops=frozenset((node.domain, node.op_type) for node in graph.node),
        inputs=tuple(tensor_info(i) for i in graph.input if i.name not in initialised),
        outputs=tuple(tensor_info(output) for output in graph.output),
        nodes=len(graph.node),
        has_subgraphs=False,
        has_external_data=False,
        has_functions=False,
        metadata=tuple((entry.key, entry.value) for entry in model.metadata_props),
    )


def small_model(*initialisers: TensorProto, **attributes: object) -> ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["score"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 1])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["b"])],
        list(initialisers),
    )
    return helper.make_model(graph)


def external_tensor() -> TensorProto:
    tensor = TensorProto(name="w", data_type=1, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


@given(models())
def test_the_outline_is_that_of_the_onnx_package(model: ModelProto) -> None:
    assert read_outline(model.SerializeToString()) == outline_by_onnx(model)


@given(models(), texts, texts)
def test_appended_metadata_reads_back_in_both(model: ModelProto, key: str, value: str) -> None:
    stamped = append_metadata(model.SerializeToString(), key, value)
    assert read_outline(stamped).metadata[-1] == (key, value)
    assert read_outline(stamped) == outline_by_onnx(load_from_string(stamped))


def outcome(data: bytes) -> str:
    try:
        read_outline(data)
    except ContractError as error:
        return "a reason" if "expected" in error.detail else error.detail
    return "an outline"


@given(st.binary())
def test_arbitrary_bytes_raise_nothing_but_contract_errors(data: bytes) -> None:
    assert outcome(data) in {"a reason", "an outline"}


@given(st.data())
def test_changed_bytes_raise_nothing_but_contract_errors(data: st.DataObject) -> None:
    file = bytearray(small_model(external_tensor(), alpha=1.0).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(bytes(file)) in {"a reason", "an outline"}


@settings(max_examples=5)
@given(models())
def test_a_file_cut_short_is_refused_or_lacks_fields(model: ModelProto) -> None:
    whole = model.SerializeToString()
    for end in range(len(whole)):
        assert outcome(whole[:end]) in {"a reason", "an outline"}


def test_a_graph_cut_short_is_refused() -> None:
    whole = _field(7, small_model().graph.SerializeToString())
    for end in range(len(whole)):
        with pytest.raises(ContractError, match="expected"):
            read_outline(whole[:end])


def attribute(**parts: object) -> ModelProto:
    model = small_model()
    model.graph.node[0].attribute.append(AttributeProto(name="a", **parts))
    return model


@pytest.mark.parametrize(
    "model",
    [
        small_model(external_tensor()),
        attribute(t=external_tensor()),
        attribute(tensors=[TensorProto(), external_tensor()]),
        attribute(t=TensorProto(data_location=TensorProto.EXTERNAL)),
        attribute(sparse_tensor={"values": {"name": "v"}}),
        attribute(sparse_tensors=[{"values": {"name": "v"}}]),
    ],
)
def test_data_outside_the_file_is_seen_wherever_it_hides(model: ModelProto) -> None:
    assert read_outline(model.SerializeToString()).has_external_data


def test_sparse_initialisers_are_seen() -> None:
    model = small_model()
    model.graph.sparse_initializer.add()
    assert read_outline(model.SerializeToString()).has_external_data


@pytest.mark.parametrize(
    "model", [attribute(g=GraphProto(name="g")), attribute(graphs=[GraphProto()])]
)
def test_subgraphs_are_seen(model: ModelProto) -> None:
    assert read_outline(model.SerializeToString()).has_subgraphs


def test_functions_and_training_info_are_seen() -> None:
    with_function, with_training = small_model(), small_model()
    with_function.functions.add(name="f", domain="d")
    with_training.training_info.add()
    for model in (with_function, with_training):
        assert read_outline(model.SerializeToString()).has_functions


def test_an_initialised_input_is_no_input() -> None:
    model = small_model(numpy_helper.from_array(np.zeros(1, np.float32), "x"))
    assert read_outline(model.SerializeToString()).inputs == ()


def test_other_types_than_tensors_have_no_shape() -> None:
    model = small_model()
    model.graph.output[0].CopyFrom(
        helper.make_tensor_sequence_value_info("score", TensorProto.FLOAT, ["b"])
    )
    assert read_outline(model.SerializeToString()).outputs == (
        TensorInfo("score", "no tensor", ()),
    )


def test_graphs_nested_a_hundred_thousand_deep_do_not_exhaust_the_stack() -> None:
    heads, size = [], 0
    for _ in range(100_000):
        head = b"\x32" + _encode_varint(size)
        heads.append(head)
        size += len(head)
    nested = b"".join(reversed(heads))
    node = _field(1, _field(4, b"Identity") + _field(5, nested))
    assert read_outline(_field(7, node)).has_subgraphs


NODE = _field(4, b"RandomNormal")


@pytest.mark.parametrize(
    "hiding",
    [
        NODE + b"\x20\x01",  # field 4 again, as an integer: parsers skip it
        NODE + b"\x25Relu",  # field 4 again, as four fixed bytes: parsers skip it
        _field(4, b"Relu") + NODE,  # the last one counts
        _field(4, b"Relu") + b"\xa2\x00\x0cRandomNormal",  # a tag in more bytes than it needs
    ],
)
def test_an_operator_cannot_hide_behind_a_second_field(hiding: bytes) -> None:
    file = _field(7, _field(1, hiding))
    seen = {(node.domain, node.op_type) for node in load_from_string(file).graph.node}
    assert seen == {("", "RandomNormal")}
    assert read_outline(file).ops == seen


@pytest.mark.parametrize(
    ("data", "reason", "words"),
    [
        (b"", "not_onnx", "expected one graph in the file, got 0"),
        (b"not an onnx file", "not_onnx", "expected a protobuf field, got tag"),
        (_field(7, b"") * 2, "not_onnx", "expected one graph in the file, got 2"),
        (b"\x38\x01", "not_onnx", "expected one graph in the file, got 0"),
        (_field(7, b"") + b"\x00\x01", "not_onnx", "got tag 0x0"),
        (_field(7, b"") + b"\x0b\x0c", "not_onnx", "got tag 0xb"),
        (b"\xba\x80\x80\x80\x80\x01\x00", "not_onnx", "got tag 0x80000003a"),
        (b"\x3a\x05ab", "truncated", "expected 3 more bytes"),
        (b"\x3a" + b"\xff" * 9 + b"\x01", "truncated", "more bytes"),
        (b"\x08" + b"\xff" * 11, "truncated", "expected a varint at 1"),
        (b"\x08", "truncated", "expected a varint at 1, got 0 bytes"),
        (_field(7, _field(1, _field(4, b"\xff"))), "not_onnx", "expected UTF-8 text"),
        (_field(7, _field(11, _field(2, b"") * 2)), "not_onnx", "field 2 once, got 2"),
        (
            _field(7, _field(11, _field(2, _field(1, _field(2, _field(1, b"\x08\x01\x12\x01b")))))),
            "not_onnx",
            "got both",
        ),
    ],
)
def test_what_is_no_onnx_file_is_refused(data: bytes, reason: str, words: str) -> None:
    with pytest.raises(ContractError) as caught:
        read_outline(data)
    assert caught.value.reason == reason
    assert words in caught.value.detail


@pytest.mark.parametrize(
    "flood",
    [
        b"\x08\x01" * (MAX_FIELDS + 1),
        _field(7, _field(5, b"\x25\0\0\0\0" * (MAX_FIELDS + 1))),
        _field(7, _field(1, b"") * (MAX_FIELDS + 1)),
    ],
)
def test_a_flood_of_fields_is_refused(flood: bytes) -> None:
    with pytest.raises(ContractError, match="too_many_fields: expected at most 1000000"):
        read_outline(flood)


def test_sixteen_megabytes_of_weights_cost_next_to_nothing() -> None:
    weights = numpy_helper.from_array(np.zeros(4_000_000, np.float32), "w")
    data = small_model(weights).SerializeToString()
    started = time.process_time()
    outline = read_outline(data)
    assert outline.nodes == 1
    assert time.process_time() - started < 1.0
