"""Pads:

- Pad(x) by nothing → x
- Conv(Pad(x, zeros)) → Conv(x) with larger pads, when only spatial axes were padded
- MaxPool(Pad(x, -∞)) the same; AveragePool(Pad(x, zeros)) when it counts its padding; both when the pads stay smaller
  than the kernel, as the runtime asks for

Not where that is slower, see :mod:`onnxslim.simplification.speed.padding`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, has_single_use, op, producer
from onnxslim.simplification.speed import padding
from onnxslim.simplification.speed.claim import SpeedClaim
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
    if refusal is None and context.weighs_speed:
        refusal = _find_loss(node, pads)
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
        inner = producer(pad.inputs[0], "Pad")
        if inner is not None and _get_fill(inner, context) != 0:
            # a window of -∞ alone gives that, and the lowest float as soon as the pool's own padding is part of it
            return "what Pad reads is padded already, and a window may hold nothing but padding"
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


def _find_loss(node: ir.Node, pads: list[int]) -> str | None:
    """Why ``node`` would be slower if it padded by ``pads`` itself."""
    outputs = symbolic_dims(node.outputs[0])
    if node.op_type == "Conv":
        weight = symbolic_dims(node.inputs[1])
        kernel, channels = (None, 0) if weight is None else (weight[2:], weight[1])
    else:
        kernel, channels = list(node.attributes.get_ints("kernel_shape", ())), 1
    if kernel is None or outputs is None or not all(isinstance(size, int) for size in (*kernel, channels)):
        return None
    sizes, strides = [int(str(size)) for size in kernel], node.attributes.get_ints("strides", [1] * len(kernel))
    known = [size if isinstance(size, int) else None for size in outputs[2:]]
    return padding.describe_loss(sizes, pads, strides, known, int(str(channels)))


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


#: In front of each stands what makes its input blocked; ``axes`` keep the runtime from folding the Pad by itself.
_CLAIMS = (
    SpeedClaim(
        "zeros of 31 and 32 around 128 positions, in front of a 64x1 Conv",
        """(float[1,16,128,1] x) => (float[1,64,128,1] y) {
            a = Conv (x, v) p = Pad (a, k, , axes) z = Conv (p, w) y = Relu (z) }""",
        gains=False,
        constants={"v": (16, 16, 1, 1), "k": [31, 32], "axes": [2], "w": (64, 16, 64, 1)},
    ),
    SpeedClaim(
        "zeros in front of a 9x1 Conv on a column of 128",
        """(float[1,64,128,1] x) => (float[1,64,128,1] y) {
            a = Conv (x, v) p = Pad (a, k, , axes) z = Conv (p, w) y = Relu (z) }""",
        gains=False,
        constants={"v": (64, 64, 1, 1), "k": [4, 4], "axes": [2], "w": (64, 64, 9, 1)},
    ),
    SpeedClaim(
        "zeros around 14x14, in front of a 7x7 Conv",
        """(float[1,64,14,14] x) => (float[1,64,14,14] y) {
            a = Conv (x, v) p = Pad (a, k, , axes) z = Conv (p, w) y = Relu (z) }""",
        gains=False,
        constants={"v": (64, 64, 1, 1), "k": [3, 3, 3, 3], "axes": [2, 3], "w": (64, 64, 7, 7)},
    ),
    SpeedClaim(
        "zeros around 14x14, in front of a 3x3 Conv",
        """(float[1,64,14,14] x) => (float[1,64,14,14] y) {
            a = Conv (x, v) p = Pad (a, k, , axes) z = Conv (p, w) y = Relu (z) }""",
        gains=True,
        constants={"v": (64, 64, 1, 1), "k": [1, 1, 1, 1], "axes": [2, 3], "w": (64, 64, 3, 3)},
    ),
    SpeedClaim(
        "zeros around 28x28, in front of a depthwise 7x7 Conv",
        """(float[1,64,28,28] x) => (float[1,64,28,28] y) {
            a = Conv (x, v) p = Pad (a, k, , axes) z = Conv <group = 64> (p, w) y = Relu (z) }""",
        gains=True,
        constants={"v": (64, 64, 1, 1), "k": [3, 3, 3, 3], "axes": [2, 3], "w": (64, 1, 7, 7)},
    ),
    SpeedClaim(
        "-∞ around 28x28, in front of a 3x3 MaxPool",
        """(float[1,64,28,28] x) => (float[1,64,14,14] y) {
            a = Conv (x, v) p = Pad (a, k, low, axes)
            z = MaxPool <kernel_shape = [3,3], strides = [2,2]> (p) y = Relu (z) }""",
        gains=True,
        constants={"v": (64, 64, 1, 1), "k": [1, 1, 1, 1], "axes": [2, 3], "low": -np.inf},
    ),
    SpeedClaim(
        "-∞ around 128 positions, in front of a 64x1 MaxPool",
        """(float[1,64,128,1] x) => (float[1,64,128,1] y) {
            a = Conv (x, v) p = Pad (a, k, low, axes) z = MaxPool <kernel_shape = [64,1]> (p) y = Relu (z) }""",
        gains=False,
        constants={"v": (64, 64, 1, 1), "k": [31, 32], "axes": [2], "low": -np.inf},
    ),
)
RULE = Rule("pads", ("Pad", "Conv", "MaxPool", "AveragePool"), match, claims=_CLAIMS)
