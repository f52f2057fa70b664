"""An ONNX graph while it is being written: nodes and tables in order, then deterministic bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["GraphDraft"]

OPSET = 17
IR_VERSION = 8
BATCH = "batch"
ELEMENT_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


@dataclass(slots=True)
class GraphDraft:
    """Collects the parts of one graph; the same calls give the same bytes."""

    name: str
    nodes: list[Any] = field(default_factory=list)
    tables: list[Any] = field(default_factory=list)
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)

    def input(self, name: str, row: Sequence[int], *, dtype: str = "float32") -> str:
        """Declare an input `[batch, *row]` and return its name."""
        self.inputs.append(_tensor(name, row, dtype))
        return name

    def output(self, source: str, name: str, row: Sequence[int]) -> None:
        """Declare the value `source` as float32 output `name` of shape `[batch, *row]`."""
        self.nodes.append(helper.make_node("Identity", [source], [name]))
        self.outputs.append(_tensor(name, row, "float32"))

    def table(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant (float32, or int64 where the values are integers) and return its name."""
        kind = np.int64 if np.issubdtype(values.dtype, np.integer) else np.float32
        self.tables.append(numpy_helper.from_array(np.ascontiguousarray(values, kind), name))
        return name

    def scalar(self, value: float) -> str:
        """Add a one-element constant, once a value, and return its name."""
        name = f"c_{value!r}"
        if all(table.name != name for table in self.tables):
            self.table(name, np.array([value], np.float32))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the name of that output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def split(self, source: str, sizes: Sequence[int]) -> list[str]:
        """Cut the columns of `[batch, sum(sizes)]` into parts of these widths; return the names."""
        widths = self.table(f"widths_{len(self.nodes)}", np.array(sizes))
        names = [f"split_{len(self.nodes)}_{part}" for part in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [source, widths], names, axis=1))
        return names

    def to_bytes(self) -> bytes:
        """Return the checked file; raise onnx.checker.ValidationError when it is no valid graph."""
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.tables)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="vedette"
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def _tensor(name: str, row: Sequence[int], dtype: str) -> Any:
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[dtype], [BATCH, *row])
