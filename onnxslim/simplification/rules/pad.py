"""Pads:

- Pad(x) by nothing → x
- Conv(Pad(x, zeros)) → Conv(x) with larger pads, when only spatial axes were padded
- MaxPool(Pad(x, -∞)) the same; AveragePool(Pad(x, zeros)) when it counts its padding; both when the pads stay smaller
  than the kernel, as the runtime asks for
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, has_single_use, op, producer
from onnxslim.simplification.symbolic_shapes.inference import lookup_integers, symbolic_dims
from onnxslim.simplification.symbolic_shapes.polynomials import Number

#: Opset where pads and the value became inputs.
INPUTS_SINCE_OPSET = 11


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Pad alone, or the windowed op after it."""
    if node.op_type == "Pad":
        amounts = _get_amounts(node, context)
        return {node.outputs[0]: node.inputs[0]} if amounts and not any(amounts) and node.inputs[0] else None
    source = node.inputs[0]
    pad = producer(source, "Pad")
    if source is None or pad is None or pad.inputs[0] is None:
        return None
    amounts = _get_amounts(pad, context)
    if amounts is None:
        return "the amounts of Pad are only known at run time"
    rank = len(amounts) // 2
    begin, end = amounts[:rank], amounts[rank:]
    refusal = _find_refusal(node, pad, source, context, begin, end)
    if refusal is not None:
        return refusal
    own_pads = list(node.attributes.get_ints("pads", [0] * (2 * (rank - 2))))
    pads = [a + b for a, b in zip(own_pads, [*begin[2:], *end[2:]], strict=True)]
    if node.op_type != "Conv":
        refusal = _find_pool_refusal(node, pads, end[2:], symbolic_dims(pad.inputs[0]))
    if refusal is not None:
        return refusal
    attributes = {name: value for name, value in node.attributes.items() if name not in ("pads", "auto_pad")}
    return {node.outputs[0]: op(node.op_type, [pad.inputs[0], *node.inputs[1:]], {**attributes, "pads": pads})}


def _find_refusal(
    node: ir.Node, pad: ir.Node, source: ir.Value, context: MatchContext, begin: list[int], end: list[int]
) -> str | None:
    if pad.attributes.get_string("mode", "constant") != "constant":
        return "Pad repeats values at the edge"
    if not has_single_use(source):
        return "the result of Pad is read elsewhere"
    if any((*begin[:2], *end[:2])) or min((*begin, *end)) < 0:
        return "Pad does more than widen spatial axes"
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return f"{node.op_type} chooses its own padding"
    fill = _get_fill(pad, context)
    if node.op_type == "MaxPool":
        if fill is None or fill > np.finfo(np.float32).min or len(node.outputs) > 1:
            return "MaxPool pads with -∞"
    elif fill != 0:
        return "Pad does not fill with zeros"
    if node.op_type == "AveragePool":
        if not node.attributes.get_int("count_include_pad", 0) and any(node.attributes.get_ints("pads", ())):
            return "AveragePool does not count its own padding"
        if node.attributes.get_int("ceil_mode", 0):
            return "a window that hangs over the edge counts padding differently"
        if not node.attributes.get_int("count_include_pad", 0):
            return "AveragePool would no longer count the padding"
    return None


def _find_pool_refusal(node: ir.Node, pads: list[int], end: list[int], dims: Sequence[Number] | None) -> str | None:
    """Why the pool ``node`` cannot pad by ``pads`` itself, of which a Pad adds ``end`` behind an input of ``dims``."""
    kernel = node.attributes.get_ints("kernel_shape", ())
    if not all(pad < size for pad, size in zip(pads, (*kernel, *kernel), strict=True)):
        return "a pool's own padding must be smaller than its kernel"
    if node.attributes.get_int("ceil_mode", 0) and any(end):
        return "rounding up, a pool leaves out the windows that begin behind its input, and would count its own padding out"
    dilations = node.attributes.get_ints("dilations", [1] * len(kernel))
    spatial = [None] * len(kernel) if dims is None else list(dims[2:])
    for dilation, size in zip(dilations, spatial, strict=True):
        if dilation > 1 and not (isinstance(size, int) and size >= dilation):
            return "a dilated window may read nothing but padding"
    return None


def _get_amounts(pad: ir.Node, context: MatchContext) -> list[int] | None:
    """(begin of every axis…, end of every axis…)."""
    if context.opset < INPUTS_SINCE_OPSET:
        return list(pad.attributes.get_ints("pads", ())) or None
    known = lookup_integers(pad.inputs[1], context.integers)
    if known is None or not all(isinstance(amount, int) for amount in known.flat):
        return None
    amounts = [int(amount) for amount in known.flat]
    if len(pad.inputs) > 3 and pad.inputs[3] is not None:
        dims, axes = symbolic_dims(pad.inputs[0]), lookup_integers(pad.inputs[3], context.integers)
        if dims is None or axes is None:
            return None
        full = [0] * (2 * len(dims))
        for index, axis in enumerate(int(str(axis)) % len(dims) for axis in axes.flat):
            full[axis], full[len(dims) + axis] = amounts[index], amounts[len(axes) + index]
        return full
    return amounts


def _get_fill(pad: ir.Node, context: MatchContext) -> float | None:
    if context.opset < INPUTS_SINCE_OPSET:
        return pad.attributes.get_float("value", 0.0)
    if len(pad.inputs) < 3 or pad.inputs[2] is None:
        return 0.0
    array = get_const_array(pad.inputs[2])
    return None if array is None or array.size != 1 or array.dtype.kind != "f" else float(array.reshape(()))


RULE = Rule("pads", ("Pad", "Conv", "MaxPool", "AveragePool"), match)
