"""Reads the outline of an ONNX file from its bytes, without loading it into any runtime.

Field numbers are those of `onnx.proto` (ModelProto and below, IR version 10). What protobuf parsers
could read in two ways (a singular message given twice, tags beyond 32 bits, groups) is refused, so
that a runtime cannot see another graph than the one judged here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from wire.errors import ContractError

__all__ = ["OnnxOutline", "TensorInfo", "append_metadata", "read_outline"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED_SIZES = {FIXED64: 8, FIXED32: 4}
MAX_FIELDS = 1_000_000
MAX_TAG = 2**32 - 1
NOT_TENSORS = (4, 5, 7, 8, 9)
ELEMENT_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Name, element type and shape of an input or output; a str dimension is symbolic."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class OnnxOutline:
    """What a file declares: everything that can be judged before any runtime sees it.

    Sparse tensors count as external data: both hide values from this reader.
    """

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
    ops: set[tuple[str, str]] = field(default_factory=set)
    nodes: int = 0
    subgraphs: bool = False
    external: bool = False


@dataclass(slots=True)
class _Message:
    """The fields of one protobuf message by number, split by wire type."""

    integers: dict[int, int] = field(default_factory=dict)
    chunks: dict[int, list[memoryview]] = field(default_factory=dict)

    def has(self, *numbers: int) -> bool:
        return any(number in self.chunks for number in numbers)

    def integer(self, number: int) -> int:
        return self.integers.get(number, 0)

    def text(self, number: int) -> str:
        try:
            return bytes(self.chunks.get(number, [memoryview(b"")])[-1]).decode()
        except UnicodeDecodeError as error:
            raise ContractError("not_onnx", f"expected UTF-8 text, got {error}") from None


@dataclass(slots=True)
class _Reader:
    """Splits messages into fields, at most MAX_FIELDS in one file."""

    fields_left: int = MAX_FIELDS

    def messages(self, parent: _Message, *numbers: int) -> Iterator[_Message]:
        for number in numbers:
            for chunk in parent.chunks.get(number, ()):
                yield self.message(chunk)

    def child(self, parent: _Message, number: int) -> _Message:
        chunks = parent.chunks.get(number, [])
        if len(chunks) > 1:
            raise ContractError("not_onnx", f"expected field {number} once, got {len(chunks)}")
        return self.message(chunks[0]) if chunks else _Message()

    def message(self, data: memoryview) -> _Message:
        message = _Message()
        position, end, left = 0, len(data), self.fields_left
        while position < end:
            left -= 1
            tag, position = _varint(data, position)
            number, kind = tag >> 3, tag & 7
            if left < 0 or not number or tag > MAX_TAG:
                raise _bad_field(left, tag)
            if kind == VARINT:
                message.integers[number], position = _varint(data, position)
                continue
            if kind == BYTES:
                size, position = _varint(data, position)
                chunk = data[position : position + size]
                message.chunks.setdefault(number, []).append(chunk)
            elif kind in FIXED_SIZES:
                size = FIXED_SIZES[kind]
            else:
                raise _bad_field(left, tag)
            position += size
        if position > end:
            raise ContractError("truncated", f"expected {position - end} more bytes, got the end")
        self.fields_left = left
        return message


def read_outline(data: bytes) -> OnnxOutline:
    """Read the outline; raise ContractError when the bytes are no ONNX model."""
    reader = _Reader()
    model = reader.message(memoryview(data))
    if len(model.chunks.get(7, [])) != 1:
        got = len(model.chunks.get(7, []))
        raise ContractError("not_onnx", f"expected one graph in the file, got {got}")
    graph = reader.child(model, 7)
    draft = _Draft()
    for node in reader.messages(graph, 1):
        _read_node(reader, node, draft)
    initialised = set()
    for tensor in reader.messages(graph, 5):
        initialised.add(tensor.text(8))
        draft.external |= _is_external(tensor)
    inputs = (_tensor_info(reader, entry) for entry in reader.messages(graph, 11))
    return OnnxOutline(
        ir_version=model.integer(1),
        opsets=tuple((entry.text(1), entry.integer(2)) for entry in reader.messages(model, 8)),
        ops=frozenset(draft.ops),
        inputs=tuple(tensor for tensor in inputs if tensor.name not in initialised),
        outputs=tuple(_tensor_info(reader, entry) for entry in reader.messages(graph, 12)),
        nodes=draft.nodes,
        has_subgraphs=draft.subgraphs,
        has_external_data=draft.external or graph.has(15),
        has_functions=model.has(25, 20),
        metadata=tuple((entry.text(1), entry.text(2)) for entry in reader.messages(model, 14)),
    )


def append_metadata(data: bytes, key: str, value: str) -> bytes:
    """Return the file with one more `metadata_props` entry (protobuf: repeated fields append)."""
    entry = _field(1, key.encode()) + _field(2, value.encode())
    return data + _field(14, entry)


def _read_node(reader: _Reader, node: _Message, draft: _Draft) -> None:
    draft.nodes += 1
    draft.ops.add((node.text(7), node.text(4)))
    for attribute in reader.messages(node, 5):
        draft.subgraphs |= attribute.has(6, 11)
        draft.external |= attribute.has(22, 23)
        for tensor in reader.messages(attribute, 5, 10):
            draft.external |= _is_external(tensor)


def _is_external(tensor: _Message) -> bool:
    return tensor.has(13) or tensor.integer(14) != 0


def _tensor_info(reader: _Reader, entry: _Message) -> TensorInfo:
    kind = reader.child(entry, 2)
    if kind.has(*NOT_TENSORS):
        return TensorInfo(entry.text(1), "no tensor", ())
    tensor = reader.child(kind, 1)
    code = tensor.integer(1)
    shape = reader.child(tensor, 2)
    dims = tuple(_dimension(dim) for dim in reader.messages(shape, 1))
    return TensorInfo(entry.text(1), ELEMENT_TYPES.get(code, f"type {code}"), dims)


def _dimension(dim: _Message) -> int | str:
    if 1 not in dim.integers:
        return dim.text(2)
    if dim.has(2):
        raise ContractError("not_onnx", "expected a dimension with a value or a name, got both")
    value = dim.integer(1)
    return value - 2**64 if value >= 2**63 else value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    result = shift = 0
    for index in range(position, min(position + 10, len(data))):
        byte = data[index]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFF_FFFF_FFFF_FFFF, index + 1
        shift += 7
    raise ContractError(
        "truncated", f"expected a varint at {position}, got {len(data) - position} bytes"
    )


def _bad_field(fields_left: int, tag: int) -> ContractError:
    if fields_left < 0:
        return ContractError("too_many_fields", f"expected at most {MAX_FIELDS}, got more")
    return ContractError("not_onnx", f"expected a protobuf field, got tag {tag:#x}")


def _field(number: int, payload: bytes) -> bytes:
    return _encode_varint(number << 3 | BYTES) + _encode_varint(len(payload)) + payload


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
