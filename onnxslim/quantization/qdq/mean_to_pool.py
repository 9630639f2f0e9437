"""Means over the whole map, written as the pool that the runtime has in int8.

What PyTorch exports of ``x.mean([2, 3])`` is a ReduceMean, which onnxruntime runs in float: the map behind the last
convolution is converted, and laid out anew, for its sake. GlobalAveragePool and Flatten are the same arithmetic, and both
stay in int8. Simplification leaves alone what drops its axes, since it is one node more, and what is no convolution's, since
in float that is slower.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.quantization.targets.base import Target


def replace_means_with_pools(model: ir.Model, target: Target) -> int:
    """Write each ReduceMean over all spatial axes as GlobalAveragePool, in place, names kept; returns how many.

    A Flatten follows where it drops the axes.

    Args:
        model: Prepared.
        target: Whose table says what runs in int8.
    """
    mean_nodes = [node for node in model.graph if _is_global_mean(node) and _has_int8_producer(node.inputs[0], target)]
    for node in mean_nodes:
        mean, pooled = node.outputs[0], ir.node("GlobalAveragePool", [node.inputs[0]], name=node.name)
        input_shape = shapes.get_dims(node.inputs[0]) or ()
        pooled.outputs[0].shape = ir.Shape([*input_shape[:2], *[1] * (len(input_shape) - 2)])
        pooled.outputs[0].type = mean.type
        new_nodes = [pooled]
        if not node.attributes.get_int("keepdims", 1):
            new_nodes.append(ir.node("Flatten", pooled.outputs, {"axis": 1}, name=f"{node.name}_flat"))
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], new_nodes, [mean], new_nodes[-1].outputs)
    return len(mean_nodes)


def _is_global_mean(node: ir.Node) -> bool:
    if node.op_type != "ReduceMean" or node.domain:
        return False
    rank, axes = len(shapes.get_dims(node.inputs[0]) or ()), node.attributes.get_ints("axes", ())
    if len(node.inputs) > 1 and (axes_array := get_const_array(node.inputs[1])) is not None:
        axes = tuple(axes_array.tolist())
    return rank in (4, 5) and sorted(axis % rank for axis in axes) == list(range(2, rank))


def _has_int8_producer(value: ir.Value | None, target: Target) -> bool:
    """Whether an op that can run in int8 makes ``value``; behind any other the mean is in float whatever it is called."""
    node = None if value is None else value.producer()
    if node is None or value is None or value.dtype != ir.DataType.FLOAT:
        return False
    return node.op_type in target.supported_ops and "GlobalAveragePool" in target.supported_ops
