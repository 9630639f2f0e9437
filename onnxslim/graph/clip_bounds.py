"""Where activations stand still: the bounds of a Clip or Relu, and what everything behind a tensor cannot tell apart."""

from __future__ import annotations

import math

import onnx_ir as ir

from onnxslim.graph.constants import get_const_array


def get_clip_bounds(node: ir.Node) -> tuple[float | None, float | None]:
    """The constant bounds of a Clip or Relu, ±inf where there is none, None where one is not a constant number."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    bounds: list[float | None] = []
    for position, name, default in ((1, "min", -math.inf), (2, "max", math.inf)):
        value = node.inputs[position] if len(node.inputs) > position else None
        if value is not None:
            array = get_const_array(value)
            bounds.append(None if array is None or array.size != 1 else float(array.reshape(())))
        else:
            bounds.append(node.attributes.get_float(name, default))  # the way of opsets before 11
    return bounds[0], bounds[1]


def find_flat_bounds(value: ir.Value) -> tuple[float, float]:
    """Below and above which numbers everything that reads ``value`` cannot tell them apart; -inf and inf if it can."""
    bounds = [_get_flat_bounds(reader) for reader, _ in value.uses()]
    if value.is_graph_output() or not bounds:
        return -math.inf, math.inf
    return min(low for low, _ in bounds), max(high for _, high in bounds)


def _get_flat_bounds(node: ir.Node) -> tuple[float, float]:
    """Below and above which inputs the output of ``node`` stands still."""
    if node.op_type in ("Relu", "Clip"):
        low, high = get_clip_bounds(node)
        return -math.inf if low is None else low, math.inf if high is None else high
    if node.op_type == "HardSigmoid":
        alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
        return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 else (-math.inf, math.inf)
    return (-3.0 if node.op_type == "HardSwish" else -math.inf), math.inf
