"""One layer of two that follow each other with nothing between them, where that costs no more.

Conv → Conv 1×1 and MatMul/Gemm → MatMul/Gemm multiply out always; Conv 1×1 → Conv k×k does where the second pads with
nothing, or the first has no bias for the padding to leave out. The function stays the same, to float rounding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.graph import shapes
from onnxslim.graph.cost import cost
from onnxslim.prune import layers as linear
from onnxslim.prune.layers import Layer


def merged(model: ir.Model, exclude: Sequence[str], account: Account) -> ir.Model:
    """``model`` with such pairs made one, as long as there are any; nodes that ``exclude`` finds stay."""
    result = io.clone(model)
    while _merge_one(result, exclude):
        account.count("layers merged")
    return result


def _merge_one(model: ir.Model, exclude: Sequence[str]) -> bool:
    nodes = list(model.graph)
    known = [layer for layer in linear.find(model.graph) if layer.op != "ConvTranspose"]
    made = {layer.output: layer for layer in known}
    for after in known:
        before = made.get(after.input)
        if before is None or any(re.search(p, name) for p in exclude for name in (before.name, after.name)):
            continue
        one, two = nodes[before.position], nodes[after.position]
        carrier = two.inputs[0]
        if carrier is None or carrier.is_graph_output() or len(carrier.uses()) != 1:
            continue
        whole = _product(before, one, after, two)
        if whole is None or (not after.biased and np.any(whole[:, -1])):
            continue
        if _saves(model, one, two, whole):
            _replace(model, before, one, after, two, whole)
            return True
    return False


def _product(before: Layer, one: ir.Node, after: Layer, two: ir.Node) -> np.ndarray | None:
    """The weight (m, d + 1) of both in one, the bias last and d as the merged layer has it; None where there is none."""
    if before.groups != 1 or after.groups != 1 or (before.op == "Conv") != (after.op == "Conv"):
        return None
    first, second = linear.matrix(before, one)[0], linear.matrix(after, two)[0]
    if after.op != "Conv" or (after.spread == 1 and _is_bare(two) and _is_plain(one, two)):
        weight = second[:, :-1] @ first
        weight[:, -1] += second[:, -1]
        return np.asarray(weight)
    if before.spread != 1 or not _is_bare(one) or any(stride != 1 for stride in _ints(one, "strides", [1])):
        return None
    padded = any(_ints(two, "pads", [0])) or two.attributes.get_string("auto_pad", "NOTSET") != "NOTSET"
    if padded and first[:, -1].any():
        return None
    taps = second[:, :-1].reshape(len(second), len(first), after.spread)
    kernel = np.einsum("omk,mi->oik", taps, first[:, :-1]).reshape(len(second), -1)
    bias = np.einsum("omk,m->o", taps, first[:, -1]) + second[:, -1]
    return np.concatenate([kernel, bias[:, None]], axis=1)


def _is_bare(node: ir.Node) -> bool:
    """Whether a convolution pads nothing, whatever it would do."""
    return not any(_ints(node, "pads", [0])) and node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _is_plain(one: ir.Node, two: ir.Node) -> bool:
    """Whether the strides of ``two`` can be taken by ``one``: automatic padding would follow them."""
    strided = any(stride != 1 for stride in _ints(two, "strides", [1]))
    return not strided or one.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _saves(model: ir.Model, one: ir.Node, two: ir.Node, whole: np.ndarray) -> bool:
    costs = cost(model).nodes
    apart = [costs.get(node.name or "") for node in (one, two)]
    if apart[0] is None or apart[1] is None:
        return False
    elements = [linear.weight_of(node).size for node in (one, two)]
    size = whole.size - len(whole)
    macs = apart[1].macs * size / elements[1]
    return size <= sum(elements) and macs <= apart[0].macs + apart[1].macs


def _replace(model: ir.Model, before: Layer, one: ir.Node, after: Layer, two: ir.Node, whole: np.ndarray) -> None:
    """Make ``two`` compute both, and take ``one`` out."""
    dtype = linear.weight_of(two).dtype
    if after.op == "Conv":
        rank = _rank(two)
        keeps = before if after.spread == 1 else after
        geometry = one if keeps is before else two
        kernel = linear.weight_of(geometry).shape[2:]
        if keeps is before:
            strides = [a * b for a, b in zip(*(_ints(n, "strides", [1] * rank) for n in (one, two)), strict=True)]
            for name in ("pads", "dilations", "auto_pad"):
                if name in one.attributes:
                    two.attributes[name] = one.attributes[name]
                elif name in two.attributes:
                    del two.attributes[name]
            two.attributes["strides"] = ir.AttrInt64s("strides", strides)
        two.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", list(kernel))
        shape: tuple[int, ...] = (len(whole), -1, *kernel)
    else:
        shape = (len(whole), -1)
    weight = whole[:, :-1].reshape(shape)
    if after.op == "MatMul" or (after.op == "Gemm" and not two.attributes.get_int("transB", 0)):
        weight = weight.T
    linear.put(two, 1, np.ascontiguousarray(weight, dtype))
    # Only the bias is left to write, and only where there is a place for it.
    fresh = next(layer for layer in linear.find(model.graph) if layer.raw == after.raw)
    if fresh.biased:
        linear.assign(fresh, two, whole[None])
    two.replace_input_with(0, one.inputs[0])
    own = [node for node in _makers(before, one) if node is not None]
    model.graph.remove(own, safe=True)
    shapes.infer(model)


def _makers(layer: Layer, node: ir.Node) -> list[ir.Node]:
    """The layer's node, and the Add that gives it a bias."""
    if layer.output == layer.raw:
        return [node]
    return [node, next(iter(node.outputs[0].uses()))[0]]


def _rank(node: ir.Node) -> int:
    return len(linear.weight_of(node).shape) - 2


def _ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    return [int(i) for i in node.attributes[name].as_ints()] if name in node.attributes else default
