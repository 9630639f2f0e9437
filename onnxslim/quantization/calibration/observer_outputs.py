"""Small additions to a copy of a model that is run to learn something: ops appended, their results made outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir


def append_node(model: ir.Model, op: str, inputs: Sequence[ir.Value], **attributes: int | list[int]) -> ir.Value:
    """Append a node to the main graph; its output."""
    node = ir.node(op, inputs, attributes)
    model.graph.append(node)
    return node.outputs[0]


def append_reduction(model: ir.Model, op: str, value: ir.Value, axes: Sequence[int] = ()) -> ir.Value:
    """``value`` reduced over ``axes``, all by default; they became an input of most reductions with opset 18."""
    if not axes:
        return append_node(model, op, [value], keepdims=0)
    if (model.opset_imports.get("") or 0) < 18:
        return append_node(model, op, [value], keepdims=0, axes=list(axes))
    return append_node(model, op, [value, add_int64_constant(model, axes)], keepdims=0)


def add_int64_constant(model: ir.Model, values: Sequence[int] | int) -> ir.Value:
    """An int64 constant, shared by all who ask for the same: a scalar for a number, else 1-D."""
    array = np.asarray(values, np.int64)
    name = f"watched__{array.ndim}d_" + "_".join(map(str, array.reshape(-1).tolist()))
    if name in model.graph.initializers:
        return model.graph.initializers[name]
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    model.graph.register_initializer(value)
    return value


def add_graph_output(model: ir.Model, value: ir.Value, name: str, dtype: ir.DataType | None) -> None:
    """Make ``value``, which :func:`append_node` made, an output called ``name``."""
    if value.is_graph_output():
        value = append_node(model, "Identity", [value])
    value.name, value.dtype = name, dtype or ir.DataType.FLOAT
    model.graph.outputs.append(value)
