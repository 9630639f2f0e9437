"""One layer of two that follow each other with nothing between them, where that costs no more.

Conv → Conv 1×1 and MatMul/Gemm → MatMul/Gemm multiply out always; Conv 1×1 → Conv k×k does where the second pads with
nothing, or the first has no bias for the padding to leave out. The function stays the same, to float rounding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning import linear_layers as linear
from onnxslim.pruning.linear_layers import LinearLayer


def merge_layers(model: ir.Model, exclude: Sequence[str], report: StepReport) -> ir.Model:
    """``model`` with such pairs made one, as long as there are any; nodes that ``exclude`` finds stay."""
    result = model_file.clone(model)
    while _merge_pair(result, exclude):
        report.count("layers merged")
    return result


def _merge_pair(model: ir.Model, exclude: Sequence[str]) -> bool:
    nodes = list(model.graph)
    layers = [layer for layer in linear.find_linear_layers(model.graph) if layer.op != "ConvTranspose"]
    layer_by_output = {layer.output: layer for layer in layers}
    for after in layers:
        before = layer_by_output.get(after.input)
        if before is None or any(re.search(p, name) for p in exclude for name in (before.name, after.name)):
            continue
        first_node, second_node = nodes[before.position], nodes[after.position]
        between = second_node.inputs[0]
        if between is None or between.is_graph_output() or len(between.uses()) != 1:
            continue
        combined = _merged_matrix(before, first_node, after, second_node)
        if combined is None or (not after.has_bias and np.any(combined[:, -1])):
            continue
        if _is_cheaper(model, first_node, second_node, combined):
            _replace_pair(model, before, first_node, after, second_node, combined)
            return True
    return False


def _merged_matrix(before: LinearLayer, first_node: ir.Node, after: LinearLayer, second_node: ir.Node) -> np.ndarray | None:
    """The weight (m, d + 1) of both in one, the bias last and d as the merged layer has it; None where there is none."""
    if before.groups != 1 or after.groups != 1 or (before.op == "Conv") != (after.op == "Conv"):
        return None
    first, second = linear.get_matrix(before, first_node)[0], linear.get_matrix(after, second_node)[0]
    if after.op != "Conv" or (
        after.kernel_size == 1 and _has_no_padding(second_node) and _can_take_strides(first_node, second_node)
    ):
        weight = second[:, :-1] @ first
        weight[:, -1] += second[:, -1]
        return np.asarray(weight)
    if (
        before.kernel_size != 1
        or not _has_no_padding(first_node)
        or any(stride != 1 for stride in first_node.attributes.get_ints("strides", [1]))
    ):
        return None
    attributes = second_node.attributes
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


def _can_take_strides(first_node: ir.Node, second_node: ir.Node) -> bool:
    """Whether the strides of ``second_node`` can be taken by ``first_node``: automatic padding would follow them."""
    strided = any(stride != 1 for stride in second_node.attributes.get_ints("strides", [1]))
    return not strided or _takes_given_pads(first_node)


def _is_cheaper(model: ir.Model, first_node: ir.Node, second_node: ir.Node, combined: np.ndarray) -> bool:
    costs = compute_cost(model).nodes
    separate_costs = [costs.get(node.name or "") for node in (first_node, second_node)]
    if separate_costs[0] is None or separate_costs[1] is None:
        return False
    elements = [linear.get_weight(node).size for node in (first_node, second_node)]
    size = combined.size - len(combined)
    macs = separate_costs[1].macs * size / elements[1]
    return size <= sum(elements) and macs <= separate_costs[0].macs + separate_costs[1].macs


def _replace_pair(
    model: ir.Model, before: LinearLayer, first_node: ir.Node, after: LinearLayer, second_node: ir.Node, combined: np.ndarray
) -> None:
    """Make ``second_node`` compute both, and take ``first_node`` out."""
    dtype = linear.get_weight(second_node).dtype
    if after.op == "Conv":
        rank = _spatial_rank(second_node)
        geometry_layer = before if after.kernel_size == 1 else after
        geometry_node = first_node if geometry_layer is before else second_node
        kernel = linear.get_weight(geometry_node).shape[2:]
        if geometry_layer is before:
            both_strides = (node.attributes.get_ints("strides", [1] * rank) for node in (first_node, second_node))
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
    weight = combined[:, :-1].reshape(shape)
    if after.op == "MatMul" or (after.op == "Gemm" and not second_node.attributes.get_int("transB", 0)):
        weight = weight.T
    linear.set_constant(second_node, 1, np.ascontiguousarray(weight, dtype))
    # Only the bias is left to write, and only where there is a place for it.
    merged_layer = next(layer for layer in linear.find_linear_layers(model.graph) if layer.node_output == after.node_output)
    if merged_layer.has_bias:
        linear.set_matrix(merged_layer, second_node, combined[None])
    second_node.replace_input_with(0, first_node.inputs[0])
    obsolete = [node for node in _layer_nodes(before, first_node) if node is not None]
    model.graph.remove(obsolete, safe=True)
    shapes.infer(model)


def _layer_nodes(layer: LinearLayer, node: ir.Node) -> list[ir.Node]:
    """The layer's node, and the Add that gives it a bias."""
    if layer.output == layer.node_output:
        return [node]
    return [node, next(iter(node.outputs[0].uses()))[0]]


def _spatial_rank(node: ir.Node) -> int:
    return len(linear.get_weight(node).shape) - 2
