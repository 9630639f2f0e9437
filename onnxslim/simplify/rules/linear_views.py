"""Reshape(MatMul(Reshape(x), W) + b) → Reshape(Gemm(Reshape(x), W, b)): between two Reshapes, rows may lie on one axis.

Elsewhere a Gemm for more than two axes would need Reshapes of its own (see :mod:`matmul_add`); windowed attention, and
every layer that lies between a change of layout and a split into heads, has them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.simplify.arithmetic import extent
from onnxslim.simplify.rule import Found, Rule, Scene, const, op, producer, sole
from onnxslim.simplify.rules.matmul_add import FLOATS
from onnxslim.simplify.rules.view import spelled, wanted_dims


def match(node: ir.Node, scene: Scene) -> Found:
    """The last Reshape."""
    total = node.inputs[0]
    add = producer(total, "Add")
    if add is None or total is None:
        return None
    at = next((index for index, value in enumerate(add.inputs) if producer(value, "MatMul") is not None), None)
    matmul = None if at is None else producer(add.inputs[at], "MatMul")
    if matmul is None or at is None:
        return None
    rows, product = matmul.inputs[0], add.inputs[at]
    before = producer(rows, "Reshape")
    weight, bias = constant(matmul.inputs[1]), constant(add.inputs[1 - at])
    dims, wanted = extent(rows), wanted_dims(node, scene)
    if before is None or rows is None or product is None or weight is None or bias is None:
        return None
    if dims is None or wanted is None or len(dims) < 3 or weight.ndim != 2 or total.dtype not in FLOATS:
        return None
    if bias.shape[-1:] not in ((), (1,), weight.shape[1:]) or bias.size > weight.shape[1] or bias.ndim > len(dims):
        return "what is added is not one row"
    if not (sole(rows) and sole(product) and sole(total)):
        return "what is between the two Reshapes is read elsewhere"
    target = spelled(wanted, None)
    if target is None:
        return "two of the dimensions are only known at run time"
    flat = op("Reshape", [before.inputs[0], const(np.asarray([-1, weight.shape[0]]), rows)])
    row = add.inputs[1 - at] if bias.ndim < 2 else const(bias.reshape(-1), add.inputs[1 - at])
    gemm = op("Gemm", [flat, matmul.inputs[1], row], name=matmul.name)
    return {node.outputs[0]: op("Reshape", [gemm, const(target, node.outputs[0])], name=node.name)}


RULE = Rule("matmul+add between reshapes", ("Reshape",), match, rounds=True)
