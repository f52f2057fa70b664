"""Reads the outline of an ONNX file from its bytes, without loading it into any runtime.

Field numbers are those of `onnx.proto` (ModelProto and below, IR version 10).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wire.errors import ContractError

__all__ = ["OnnxOutline", "TensorInfo", "append_metadata", "read_outline"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}

Value = int | memoryview


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, element type and shape of an input or output; a str dimension is symbolic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class OnnxOutline:
    """What a file declares: everything that can be judged before any runtime sees it."""

    ir_version: int
    opsets: tuple[tuple[str, int], ...]
    ops: frozenset[tuple[str, str]]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    nodes: int
    has_subgraphs: bool
    has_external_data: bool
    has_functions: bool
    metadata: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Draft:
    ops: set[tuple[str, str]]
    nodes: int = 0
    subgraphs: bool = False
    external: bool = False


def read_outline(data: bytes) -> OnnxOutline:
    """Read the outline; raise ContractError when the bytes are no ONNX model."""
    fields = _group(memoryview(data))
    graphs = [value for value in fields.get(7, []) if isinstance(value, memoryview)]
    if len(graphs) != 1:
        raise ContractError("not_onnx", f"expected one graph in the file, got {len(graphs)}")
    graph = _group(graphs[0])
    draft = _Draft(set())
    for node in _messages(graph, 1):
        _read_node(node, draft)
    draft.external |= any(_is_external(tensor) for tensor in _messages(graph, 5))
    initialised = {_text(_group(tensor), 8) for tensor in _messages(graph, 5)}
    return OnnxOutline(
        ir_version=_integer(fields, 1),
        opsets=tuple(_opset(_group(entry)) for entry in _messages(fields, 8)),
        ops=frozenset(draft.ops),
        inputs=tuple(
            t for t in map(_tensor_info, _messages(graph, 11)) if t.name not in initialised
        ),
        outputs=tuple(_tensor_info(entry) for entry in _messages(graph, 12)),
        nodes=draft.nodes,
        has_subgraphs=draft.subgraphs,
        has_external_data=draft.external or bool(graph.get(15)),
        has_functions=bool(fields.get(25) or fields.get(20)),
        metadata=tuple(_pair(_group(entry)) for entry in _messages(fields, 14)),
    )


def append_metadata(data: bytes, key: str, value: str) -> bytes:
    """Return the file with one more `metadata_props` entry (protobuf: repeated fields append)."""
    entry = _field(1, key.encode()) + _field(2, value.encode())
    return data + _field(14, entry)


def _read_node(node: memoryview, draft: _Draft) -> None:
    fields = _group(node)
    draft.nodes += 1
    draft.ops.add((_text(fields, 7), _text(fields, 4)))
    for attribute in _messages(fields, 5):
        parts = _group(attribute)
        draft.subgraphs |= bool(parts.get(6) or parts.get(11))
        tensors = [*_messages(parts, 5), *_messages(parts, 10)]
        draft.external |= any(_is_external(tensor) for tensor in tensors)
        draft.external |= bool(parts.get(22) or parts.get(23))


def _is_external(tensor: memoryview) -> bool:
    fields = _group(tensor)
    return bool(fields.get(13)) or _integer(fields, 14) != 0


def _tensor_info(entry: memoryview) -> TensorInfo:
    fields = _group(entry)
    tensor = _child(_child(fields, 2), 1)
    dtype = ELEMENT_TYPES.get(_integer(tensor, 1), f"type {_integer(tensor, 1)}")
    dims = tuple(_dimension(_group(dim)) for dim in _messages(_child(tensor, 2), 1))
    return TensorInfo(_text(fields, 1), dtype, dims)


def _dimension(fields: dict[int, list[Value]]) -> int | str:
    return _integer(fields, 1) if 1 in fields else _text(fields, 2)


def _opset(fields: dict[int, list[Value]]) -> tuple[str, int]:
    return _text(fields, 1), _integer(fields, 2)


def _pair(fields: dict[int, list[Value]]) -> tuple[str, str]:
    return _text(fields, 1), _text(fields, 2)


def _child(fields: dict[int, list[Value]], number: int) -> dict[int, list[Value]]:
    found = list(_messages(fields, number))
    return _group(found[-1]) if found else {}


def _messages(fields: dict[int, list[Value]], number: int) -> Iterator[memoryview]:
    return (value for value in fields.get(number, []) if isinstance(value, memoryview))


def _integer(fields: dict[int, list[Value]], number: int) -> int:
    value = fields.get(number, [0])[-1]
    return value if isinstance(value, int) else 0


def _text(fields: dict[int, list[Value]], number: int) -> str:
    value = fields.get(number, [0])[-1]
    try:
        return bytes(value).decode() if isinstance(value, memoryview) else ""
    except UnicodeDecodeError as error:
        raise ContractError("not_onnx", f"expected UTF-8 text, got {error}") from None


def _group(data: memoryview) -> dict[int, list[Value]]:
    fields: dict[int, list[Value]] = {}
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        value, position = _value(data, position, key & 7)
        fields.setdefault(key >> 3, []).append(value)
    return fields


def _value(data: memoryview, position: int, kind: int) -> tuple[Value, int]:
    if kind == VARINT:
        return _varint(data, position)
    if kind == BYTES:
        size, position = _varint(data, position)
    elif kind in {FIXED64, FIXED32}:
        size = 8 if kind == FIXED64 else 4
    else:
        raise ContractError("not_onnx", f"expected a protobuf field, got wire type {kind}")
    end = position + size
    if end > len(data):
        raise ContractError(
            "truncated", f"expected {size} bytes at {position}, got {len(data) - position}"
        )
    return data[position:end], end


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    for index in range(position, min(position + 10, len(data))):
        byte = data[index]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, index + 1
        shift += 7
    raise ContractError(
        "truncated", f"expected a varint at {position}, got {len(data) - position} bytes"
    )


def _field(number: int, payload: bytes) -> bytes:
    return _encode_varint(number << 3 | BYTES) + _encode_varint(len(payload)) + payload


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
