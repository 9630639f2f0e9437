"""One layer of two that follow each other with nothing between them, where that costs no more.

Conv → Conv 1×1 and MatMul/Gemm → MatMul/Gemm multiply out always; Conv 1×1 → Conv k×k does where the second pads with
nothing, or the first has no bias for the padding to leave out. The function stays the same, to float rounding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.model_io import model_file


def merge_layers(model: ir.Model, exclude: Sequence[str]) -> tuple[ir.Model, int]:
    """``model`` with such pairs made one, as long as there are any, and how many; nodes that ``exclude`` finds stay."""
    result, count = model_file.clone(model), 0
    while _merge_pair(result, exclude):
        count += 1
    return result, count


def _merge_pair(model: ir.Model, exclude: Sequence[str]) -> bool:
    layers = [layer for layer in find_linear_layers(model.graph).values() if layer.op != "ConvTranspose"]
    layer_by_output = {str(layer.output.name): layer for layer in layers}
    for after in layers:
        before = layer_by_output.get(after.input)
        if before is None or any(re.search(p, name) for p in exclude for name in (before.name, after.name)):
            continue
        between = after.node.inputs[0]
        if between is None or between.is_graph_output() or len(between.uses()) != 1:
            continue
        combined = _merged_matrix(before, after)
        if combined is None or (not after.has_bias and np.any(combined[:, -1])):
            continue
        if _is_cheaper(model, before, after, combined):
            _replace_pair(model, before, after, combined)
            return True
    return False


def _merged_matrix(before: LinearLayer, after: LinearLayer) -> np.ndarray | None:
    """The weight (m, d + 1) of both in one, the bias last and d as the merged layer has it; None where there is none."""
    if before.groups != 1 or after.groups != 1 or (before.op == "Conv") != (after.op == "Conv"):
        return None
    first, second = before.matrix()[0], after.matrix()[0]
    # automatic padding of the first would follow the strides of the second
    moves_strides = _takes_given_pads(before.node) or not _is_strided(after.node)
    if after.op != "Conv" or (after.kernel_size == 1 and _has_no_padding(after.node) and moves_strides):
        weight = second[:, :-1] @ first
        weight[:, -1] += second[:, -1]
        return np.asarray(weight)
    if before.kernel_size != 1 or not _has_no_padding(before.node) or _is_strided(before.node):
        return None
    attributes = after.node.attributes
    padded = any(attributes.get_ints("pads", [0])) or attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
    if padded and first[:, -1].any():
        return None
    taps = second[:, :-1].reshape(len(second), len(first), after.kernel_size)
    kernel = np.einsum("omk,mi->oik", taps, first[:, :-1]).reshape(len(second), -1)
    bias = np.einsum("omk,m->o", taps, first[:, -1]) + second[:, -1]
    return np.concatenate([kernel, bias[:, None]], axis=1)


def _has_no_padding(node: ir.Node) -> bool:
    """Whether a convolution pads nothing, whatever it would do."""
    return not any(node.attributes.get_ints("pads", [0])) and _takes_given_pads(node)


def _takes_given_pads(node: ir.Node) -> bool:
    return node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _is_strided(node: ir.Node) -> bool:
    return any(stride != 1 for stride in node.attributes.get_ints("strides", [1]))


def _is_cheaper(model: ir.Model, before: LinearLayer, after: LinearLayer, combined: np.ndarray) -> bool:
    costs = compute_cost(model).nodes
    first, second = (costs.get(layer.node.name or "") for layer in (before, after))
    if first is None or second is None:
        return False
    size = combined.size - len(combined)
    macs = second.macs * size / after.weight.size
    return size <= before.weight.size + after.weight.size and macs <= first.macs + second.macs


def _replace_pair(model: ir.Model, before: LinearLayer, after: LinearLayer, combined: np.ndarray) -> None:
    """Make the node of ``after`` compute both, and take that of ``before`` out."""
    first_node, second_node = before.node, after.node
    if after.op == "Conv":
        geometry_layer = before if after.kernel_size == 1 else after
        kernel = geometry_layer.weight.shape[2:]
        if geometry_layer is before:
            both_strides = (node.attributes.get_ints("strides", [1] * len(kernel)) for node in (first_node, second_node))
            strides = [a * b for a, b in zip(*both_strides, strict=True)]
            for name in ("pads", "dilations", "auto_pad"):
                if name in first_node.attributes:
                    second_node.attributes[name] = first_node.attributes[name]
                elif name in second_node.attributes:
                    del second_node.attributes[name]
            second_node.attributes["strides"] = ir.AttrInt64s("strides", strides)
        second_node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", list(kernel))
        shape: tuple[int, ...] = (len(combined), -1, *kernel)
    else:
        shape = (len(combined), -1)
    after.assign_weight(after.as_stored(combined[:, :-1].reshape(shape)))
    # Only the bias is left to write, and only where there is a place for it.
    if after.has_bias:
        after.assign(combined[None])
    source = first_node.inputs[0]
    assert source is not None
    GraphEditor(model.graph).replace_input(second_node, 0, source)
    shapes.infer(model)
