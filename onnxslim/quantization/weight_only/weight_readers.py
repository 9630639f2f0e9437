"""Which axes of a weight have a scale each: said by what reads it.

A layer's outputs have a scale each, so that an error in one is none of the others'. A weight that is turned, cut or joined
on its way to a layer (as exporters of recurrent layers write it) is read by that layer; which of its axes are outputs then
is nothing that the layer says. An array that is added to activations (learned positions) is a weight too, where a layer with
weights reads the sum: what no layer reads any more may be coordinates, whose steps mean something.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constant_propagation import MOVE_OPS
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.layers import LAYER_OPS, get_output_axis

#: (op type, input) → the axes of its weights that have a scale each: the outputs, where they are known.
_SCALE_AXES: dict[tuple[str, int], tuple[int, ...]] = {
    ("MatMul", 0): (-2,),
    ("Gather", 0): (0,),
    **{(op, index): (0, 1) for op in ("LSTM", "GRU", "RNN") for index in (1, 2)},
    ("com.microsoft.Attention", 1): (-1,),
    ("com.microsoft.FusedConv", 1): (0,),
}
#: An array that is added to activations may have a step of this share of its values' median: a mask, or a table joined with
#: one, has values so far apart that its codes would mean nothing to the smaller ones.
_MAX_STEP_TO_MEDIAN = 0.25
#: Codes of one sign.
_QMAX = 127


def find_scale_axes(value: ir.Value, array: np.ndarray) -> list[tuple[int, ...]] | str:
    """The axes that may have a scale for each index, the one to prefer first; or why ``value`` is no weight.

    Args:
        value: A constant.
        array: What it holds.
    """
    found: dict[tuple[int, ...], None] = {}
    for node, index in ((use.node, use.idx) for use in value.uses()):
        axes = _get_scale_axes(node, index, array)
        if axes is None:
            return f"{node.op_type} reads it, which is no layer"
        found.update(dict.fromkeys(tuple(axis % array.ndim for axis in choice) for choice in axes))
    # layers that disagree about the outputs' axis (a tied table) share one along the first
    single_axes = [(axis,) for axis in range(array.ndim) if array.shape[axis] > 1]
    return list(found) if len(found) == 1 else list(dict.fromkeys([*found, *single_axes])) or [(0,)]


def _get_scale_axes(node: ir.Node, index: int, array: np.ndarray) -> list[tuple[int, ...]] | None:
    if index == 1 and node.op_type in LAYER_OPS and not node.domain:
        return [_get_layer_axes(node, array)]
    if node.op_type == "Einsum" and not node.domain:
        axes = _get_einsum_axes(node, index)
        return None if axes is None else [axes]
    if node.op_type in ("FusedMatMul", "FusedGemm") and node.domain == "com.microsoft" and index == 1:
        return [(-2,) if node.attributes.get_int("transB", 0) else (-1,)]
    axes = _SCALE_AXES.get((f"{node.domain}.{node.op_type}" if node.domain else node.op_type, index))
    if axes is not None and not (node.op_type == "Gather" and get_const_tensor(node.inputs[1]) is not None):
        return [axes]
    every_axis: list[tuple[int, ...]] = [(axis,) for axis in range(array.ndim)]
    if _is_constant_move(node) and all(map(_is_weight, node.outputs)):
        return every_axis
    return every_axis if _is_position_table(node, array) else None


def _get_layer_axes(node: ir.Node, array: np.ndarray) -> tuple[int, ...]:
    if node.op_type == "MatMul" and array.ndim > 2:
        return (*range(array.ndim - 2), array.ndim - 1)
    is_depthwise = node.op_type == "ConvTranspose" and array.shape[1] == 1
    return (0,) if is_depthwise else (get_output_axis(node),)


def _get_einsum_axes(node: ir.Node, index: int) -> tuple[int, ...] | None:
    """The axes of an Einsum's constant that only it and the output have: those of a layer's outputs."""
    terms, _, output = node.attributes.get_string("equation", "").replace(" ", "").partition("->")
    own, *others = [terms.split(",")[index], *(term for i, term in enumerate(terms.split(",")) if i != index)]
    axes = tuple(axis for axis, letter in enumerate(own) if letter in output and not any(letter in term for term in others))
    return axes[:1] if axes and "." not in own else None


def _is_constant_move(node: ir.Node) -> bool:
    return node.op_type in MOVE_OPS and not node.domain and all(map(_is_constant, node.inputs))


def _is_constant(value: ir.Value | None) -> bool:
    """Whether ``value`` is the same at every run, also behind rearrangements."""
    if value is None or get_const_tensor(value) is not None:
        return True
    producer = value.producer()
    return producer is not None and _is_constant_move(producer)


def _is_weight(value: ir.Value) -> bool:
    """Whether layers, and nothing else, read ``value`` as a weight, also behind rearrangements."""
    uses = [(use.node, use.idx) for use in value.uses()]
    return not value.is_graph_output() and all(
        (index == 1 and node.op_type in LAYER_OPS and not node.domain)
        or (node.op_type in ("LSTM", "GRU", "RNN") and index in (1, 2))
        or (_is_constant_move(node) and all(map(_is_weight, node.outputs)))
        for node, index in uses
    )


def _is_position_table(node: ir.Node, array: np.ndarray) -> bool:
    """Whether ``array`` holds a value for each position and channel, which ``node`` adds to what layers read."""
    if node.op_type != "Add" or node.domain or sum(size > 1 for size in array.shape) < 2:
        return False
    magnitudes = np.abs(array[array != 0])
    if not magnitudes.size or magnitudes.max() / _QMAX > _MAX_STEP_TO_MEDIAN * float(np.median(magnitudes)):
        return False
    return any(
        reader.op_type in LAYER_OPS and len(reader.inputs) > 1 and get_const_tensor(reader.inputs[1]) is not None
        for reader in _walk_readers(node)
    )


def _walk_readers(node: ir.Node) -> Iterator[ir.Node]:
    """Everything in this graph that depends on ``node``."""
    stack, seen = [node], {node}
    while stack:
        readers = {reader for output in stack.pop().outputs for reader in output.consumers()}
        for reader in sorted(readers - seen, key=lambda found: found.name or ""):
            seen.add(reader)
            stack.append(reader)
            yield reader
