"""MatMul(A, B) + c → Gemm(A, B, c) for matrices: A and B of two axes, c one row or one number.

With more axes a Gemm would need Reshapes around it, and the runtime runs MatMul and Add as fast.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.simplification.rule import MatchContext, MatchResult, Rule, find_operand, has_single_use, op
from onnxslim.simplification.speed.claim import SpeedClaim
from onnxslim.simplification.symbolic_shapes.inference import symbolic_dims
from onnxslim.simplification.symbolic_shapes.polynomials import equal

GEMM_TYPES = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


def match(node: ir.Node, context: MatchContext) -> MatchResult:
    """The Add."""
    operand = find_operand(node, "MatMul")
    if operand is None:
        return None
    at, product, matmul = operand
    added = node.inputs[1 - at]
    if added is None:
        return None
    ranks = [symbolic_dims(value) for value in (*matmul.inputs, product, added)]
    if any(dims is None for dims in ranks) or product.dtype not in GEMM_TYPES:
        return "the shapes or the type are not known"
    left, right, result, bias = (dims or [] for dims in ranks)
    if len(left) != 2 or len(right) != 2:
        return None
    if not has_single_use(product):
        return "the result of MatMul is read elsewhere"
    aligned = zip(reversed(bias), reversed(result), strict=False)
    if len(bias) > 2 or not all(dim == 1 or equal(dim, of) for dim, of in aligned):
        return "what is added would broadcast the product"
    return {node.outputs[0]: op("Gemm", [*matmul.inputs, added], name=matmul.name)}


_CLAIMS = (
    SpeedClaim(
        "a linear layer on one row",
        "(float[1,768] x) => (float[1,768] y) { a = MatMul (x, w) y = Add (a, b) }",
        gains=True,
        constants={"w": (768, 768), "b": (768,)},
    ),
    SpeedClaim(
        "a linear layer on 128 rows",
        "(float[128,384] x) => (float[128,384] y) { a = MatMul (x, w) y = Add (a, b) }",
        gains=True,
        constants={"w": (384, 384), "b": (384,)},
    ),
)
RULE = Rule("matmul+add", ("Add",), match, rounds=True, claims=_CLAIMS)
