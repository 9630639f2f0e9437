"""Reshape(MatMul(Reshape(x), W) + b) → Reshape(Gemm(Reshape(x), W, b)): between two Reshapes, rows may lie on one axis.

Elsewhere a Gemm for more than two axes would need Reshapes of its own (see :mod:`matmul_add`); windowed attention, and
every layer that lies between a change of layout and a split into heads, has them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, const, find_operand, has_single_use, op, producer
from onnxslim.simplification.rules.matmul_add import GEMM_TYPES
from onnxslim.simplification.rules.view import get_target_dims, make_reshape_target
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The last Reshape."""
    total = node.inputs[0]
    add = producer(total, "Add")
    if add is None or total is None:
        return None
    operand = find_operand(add, "MatMul")
    if operand is None:
        return None
    at, product, matmul = operand
    rows = matmul.inputs[0]
    before = producer(rows, "Reshape")
    weight, bias = get_const_array(matmul.inputs[1]), get_const_array(add.inputs[1 - at])
    dims, target_dims = symbolic_dims(rows), get_target_dims(node, context)
    if before is None or rows is None or weight is None or bias is None:
        return None
    if dims is None or target_dims is None or len(dims) < 3 or weight.ndim != 2 or total.dtype not in GEMM_TYPES:
        return None
    if bias.shape[-1:] not in ((), (1,), weight.shape[1:]) or bias.size > weight.shape[1] or bias.ndim > len(dims):
        return "what is added is not one row"
    if not (has_single_use(rows) and has_single_use(product) and has_single_use(total)):
        return "what is between the two Reshapes is read elsewhere"
    target = make_reshape_target(target_dims, None)
    if target is None:
        return "two of the dimensions are only known at run time"
    flat = op("Reshape", [before.inputs[0], const(np.asarray([-1, weight.shape[0]]), rows)])
    row = add.inputs[1 - at] if bias.ndim < 2 else const(bias.reshape(-1), add.inputs[1 - at])
    gemm = op("Gemm", [flat, matmul.inputs[1], row], name=matmul.name)
    return {node.outputs[0]: op("Reshape", [gemm, const(target, node.outputs[0])], name=node.name)}


_CLAIMS = (
    SpeedClaim(
        "a linear layer between two Reshapes",
        """(float[16,64,2,16] x) => (float[16,64,4,24] y) {
            r = Reshape (x, rows) a = MatMul (r, w) c = Add (a, b) y = Reshape (c, heads) }""",
        gains=True,
        constants={"rows": [16, 64, 32], "w": (32, 96), "b": (96,), "heads": [16, 64, 4, 24]},
    ),
)
RULE = Rule("matmul+add between reshapes", ("Reshape",), match, rounds=True, claims=_CLAIMS)
