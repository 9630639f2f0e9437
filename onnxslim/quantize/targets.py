"""What each provider runs in int8, as data: one row an op, one table a target.

A row says which kind of rule places Q/DQ around the op and on which condition the provider's optimiser turns the result
into an int8 kernel. ``contract.py`` builds every row's pattern and reads the runtime's optimised graph back, so a row
that a new runtime makes wrong fails by name. Adding an op is one row here and its pattern there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import constant


class Kind(Enum):
    """How an op is quantised."""

    WEIGHTED = "weighted"  #: int8 weights along one axis; takes its bias and its activation with it
    OWN = "own"  #: every activation, constants too, between Q and DQ; the output has a range of its own
    SAME = "same"  #: moves data; input and output must share scale and zero point
    FOLD = "fold"  #: disappears into the next QuantizeLinear when the range says so


#: ``node -> why it would not run in int8``, or None when it would
Check = Callable[[ir.Node], "str | None"]


@dataclass(frozen=True)
class Row:
    """One op of a target's table.

    Attributes:
        kind: How it is placed.
        check: On which condition it fuses.
        kernel: What must remain (``A|B``: one of them).
        activations: Which inputs are activations: from the first to before the last of these positions.
        float_output: It runs in int8 although nothing quantises its output.
        int32_bias: With such an output it wants its bias in int32.
    """

    kind: Kind
    check: Check
    kernel: str
    activations: tuple[int, int | None] = (0, None)
    float_output: bool = False
    int32_bias: bool = False


@dataclass(frozen=True)
class Target:
    """A provider's int8 rules.

    Attributes:
        name: As on the command line.
        provider: The session provider that runs it.
        rows: By op type.
        activation_symmetric: Zero point 0 int8 activations (TensorRT) instead of asymmetric uint8.
        saturating_pairs: Its kernels add two products in 16 bits (x86 without VNNI; ``pairs.py``).
        why_not: Why static int8 is not written for this target at all, or None.
    """

    name: str
    provider: str
    rows: Mapping[str, Row]
    activation_symmetric: bool = False
    saturating_pairs: bool = False
    why_not: str | None = None


#: Types that pass for float32; None is a type that inference did not find.
_FLOATS = (None, ir.DataType.FLOAT)


def _always(node: ir.Node) -> str | None:
    return None


def _float_weight(node: ir.Node) -> np.ndarray | None:
    weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return weight if weight is not None and weight.dtype == np.float32 else None


def _conv(node: ir.Node) -> str | None:
    if _float_weight(node) is None:
        return "its weights are not a float32 constant"
    if len(node.inputs) > 2 and node.inputs[2] is not None and constant(node.inputs[2]) is None:
        return "its bias is not a constant"
    return None


def _gemm(node: ir.Node) -> str | None:
    if _float_weight(node) is None:
        return "its weights are not a float32 constant"
    if node.attributes.get_int("transA", 0):
        return "transA is set"
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias, weight = constant(node.inputs[2]), _float_weight(node)
        outputs = weight.shape[0 if node.attributes.get_int("transB", 0) else 1] if weight is not None else 0
        if bias is None or bias.size != outputs:
            return "its bias is not a constant vector over the outputs"
        if node.attributes.get_float("beta", 1.0) != 1.0:
            return "beta is not 1"
    return "alpha is not 1" if node.attributes.get_float("alpha", 1.0) != 1.0 else None


def _matmul(node: ir.Node) -> str | None:
    weight = constant(node.inputs[1])
    if weight is None:
        return "neither input is a constant: two activations multiply"
    if weight.dtype != np.float32 or weight.ndim != 2:
        return "its weights are not a float32 matrix"
    return None


def _float_arithmetic(node: ir.Node) -> str | None:
    for value in node.inputs:
        array = constant(value)
        if array is not None and array.dtype != np.float32:
            return "it is not float32 arithmetic"
        if value is not None and value.dtype not in (None, ir.DataType.FLOAT):
            return "it is not float32 arithmetic"
    return None


def _where(node: ir.Node) -> str | None:
    for value in node.inputs[1:]:
        array = constant(value)
        if (array is not None and array.dtype != np.float32) or (value is not None and value.dtype not in _FLOATS):
            return "it does not choose between floats"
        if array is not None and not np.isfinite(array).all():
            return "one of its constants is infinite"
    return None


def _average_pool(node: ir.Node) -> str | None:
    if node.attributes.get_int("ceil_mode", 0):
        return "ceil_mode is set"
    return None


def _concat(node: ir.Node) -> str | None:
    return _float_arithmetic(node)


def _softmax(node: ir.Node) -> str | None:
    rank = len(shapes.dims(node.inputs[0]) or ())
    axis = node.attributes.get_int("axis", -1)
    return None if axis in (-1, rank - 1) else "its axis is not the last one"


def _resize(node: ir.Node) -> str | None:
    mode = node.attributes.get_string("mode", "nearest")
    return None if mode == "nearest" else f"mode is {mode}, not nearest"


def _clip(node: ir.Node) -> str | None:
    low, high = clip_bounds(node)
    return None if low is not None and high is not None else "its bounds are not constant"


def clip_bounds(node: ir.Node) -> tuple[float | None, float | None]:
    """The constant bounds of a Clip or Relu, ±inf where there is none, None where one is not constant."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    bounds: list[float | None] = []
    for position, name, default in ((1, "min", -float("inf")), (2, "max", float("inf"))):
        value = node.inputs[position] if len(node.inputs) > position else None
        if value is not None:
            array = constant(value)
            bounds.append(None if array is None else float(array.reshape(-1)[0]))
        else:
            bounds.append(node.attributes.get_float(name, default))
    return bounds[0], bounds[1]


def _moves_float(node: ir.Node) -> str | None:
    first = node.inputs[0]
    if constant(first) is not None:
        return "it moves a constant"
    if first is not None and first.dtype not in (None, ir.DataType.FLOAT):
        return "it does not move floats"
    return None


def _same(kernel: str, check: Check = _moves_float) -> Row:
    return Row(Kind.SAME, check, kernel)


#: onnxruntime's CPU provider; every row is a claim that the contract test checks
CPU_ROWS: dict[str, Row] = {
    "Conv": Row(Kind.WEIGHTED, _conv, "QLinearConv"),
    "Gemm": Row(Kind.WEIGHTED, _gemm, "QGemm", float_output=True, int32_bias=True),
    "MatMul": Row(Kind.WEIGHTED, _matmul, "MatMulIntegerToFloat|QLinearMatMul|QGemm", float_output=True, int32_bias=True),
    "Add": Row(Kind.OWN, _float_arithmetic, "QLinearAdd"),
    "Mul": Row(Kind.OWN, _float_arithmetic, "QLinearMul"),
    "AveragePool": Row(Kind.OWN, _average_pool, "QLinearAveragePool"),
    "GlobalAveragePool": Row(Kind.OWN, _always, "QLinearGlobalAveragePool"),
    "Sigmoid": Row(Kind.OWN, _always, "QLinearSigmoid"),
    "LeakyRelu": Row(Kind.OWN, _always, "QLinearLeakyRelu"),
    "Softmax": Row(Kind.OWN, _softmax, "QLinearSoftmax"),
    "Concat": Row(Kind.OWN, _concat, "QLinearConcat"),
    "Where": Row(Kind.OWN, _where, "QLinearWhere", activations=(1, None)),
    "MaxPool": _same("MaxPool|NhwcMaxPool"),
    "Resize": _same("Resize", _resize),
    "DepthToSpace": _same("DepthToSpace"),
    "Split": _same("Split"),
    "Reshape": _same("Reshape"),
    "Transpose": _same("Transpose"),
    "Flatten": _same("Flatten|Reshape"),
    "Squeeze": _same("Squeeze"),
    "Unsqueeze": _same("Unsqueeze"),
    "Slice": _same("Slice"),
    "Gather": _same("Gather"),
    "Expand": _same("Expand"),
    "Tile": _same("Tile"),
    "Relu": Row(Kind.FOLD, _always, ""),
    "Clip": Row(Kind.FOLD, _clip, ""),
}

#: TensorRT fuses around layers by itself: only what it quantises explicitly gets Q/DQ, and never a Softmax or a bias
TENSORRT_ROWS: dict[str, Row] = {
    op: replace(row, kernel="", int32_bias=False, float_output=row.kind is Kind.WEIGHTED)
    for op, row in CPU_ROWS.items()
    if op not in ("Softmax", "Sigmoid", "LeakyRelu", "Mul", "Where", "Gather", "Tile")
}

TARGETS: dict[str, Target] = {
    "cpu": Target("cpu", "cpu", CPU_ROWS),
    "cpu-no-vnni": Target("cpu-no-vnni", "cpu", CPU_ROWS, saturating_pairs=True),
    "cuda": Target(
        "cuda",
        "cuda",
        {},
        why_not="the CUDA provider has no int8 kernels for Q/DQ: it would run Q, DQ and a float Conv, slower than float",
    ),
    "tensorrt": Target(
        "tensorrt",
        "tensorrt",
        TENSORRT_ROWS,
        activation_symmetric=True,
    ),
}
