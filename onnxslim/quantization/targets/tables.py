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
from onnxslim.graph.clip_bounds import get_clip_bounds
from onnxslim.graph.constants import get_const_array


class OpKind(Enum):
    """How an op is quantised."""

    WEIGHTED = "weighted"  #: int8 weights along one axis; takes its bias and its activation with it
    OWN_RANGE = "own"  #: every activation, constants too, between Q and DQ; the output has a range of its own
    SHARED_RANGE = "same"  #: moves data; input and output must share scale and zero point
    FOLD = "fold"  #: disappears into the next QuantizeLinear when the range says so


#: ``node -> why it would not run in int8``, or None when it would
SupportCheck = Callable[[ir.Node], "str | None"]


@dataclass(frozen=True)
class SupportedOp:
    """One op of a target's table.

    Attributes:
        kind: How it is placed.
        check: On which condition it fuses.
        kernel: What must remain (``A|B``: one of them).
        activation_inputs: Which inputs are activations: from the first to before the last of these positions.
        float_output: It runs in int8 although nothing quantises its output.
        int32_bias: With such an output it wants its bias in int32.
    """

    kind: OpKind
    check: SupportCheck
    kernel: str
    activation_inputs: tuple[int, int | None] = (0, None)
    float_output: bool = False
    int32_bias: bool = False


@dataclass(frozen=True)
class Target:
    """A provider's int8 rules.

    Attributes:
        name: As on the command line.
        provider: The session provider that runs it.
        supported_ops: By op type.
        activation_symmetric: Zero point 0 int8 activations (TensorRT) instead of asymmetric uint8.
        saturating_pairs: Its kernels add two products in 16 bits (x86 without VNNI; ``pairs.py``).
        unsupported_reason: Why static int8 is not written for this target at all, or None.
    """

    name: str
    provider: str
    supported_ops: Mapping[str, SupportedOp]
    activation_symmetric: bool = False
    saturating_pairs: bool = False
    unsupported_reason: str | None = None


#: Types that pass for float32; None is a type that inference did not find.
_FLOAT_DTYPES = (None, ir.DataType.FLOAT)


def _accept_always(node: ir.Node) -> str | None:
    return None


def _get_float_weight(node: ir.Node) -> np.ndarray | None:
    weight = get_const_array(node.inputs[1]) if len(node.inputs) > 1 else None
    return weight if weight is not None and weight.dtype == np.float32 else None


def _check_conv(node: ir.Node) -> str | None:
    if _get_float_weight(node) is None:
        return "its weights are not a float32 constant"
    if len(node.inputs) > 2 and node.inputs[2] is not None and get_const_array(node.inputs[2]) is None:
        return "its bias is not a constant"
    return None


def _check_gemm(node: ir.Node) -> str | None:
    if _get_float_weight(node) is None:
        return "its weights are not a float32 constant"
    if node.attributes.get_int("transA", 0):
        return "transA is set"
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        bias, weight = get_const_array(node.inputs[2]), _get_float_weight(node)
        outputs = weight.shape[0 if node.attributes.get_int("transB", 0) else 1] if weight is not None else 0
        if bias is None or bias.size != outputs:
            return "its bias is not a constant vector over the outputs"
        if node.attributes.get_float("beta", 1.0) != 1.0:
            return "beta is not 1"
    return "alpha is not 1" if node.attributes.get_float("alpha", 1.0) != 1.0 else None


def _check_matmul(node: ir.Node) -> str | None:
    weight = get_const_array(node.inputs[1])
    if weight is None:
        return "neither input is a constant: two activations multiply"
    if weight.dtype != np.float32 or weight.ndim != 2:
        return "its weights are not a float32 matrix"
    return None


def _check_float_arithmetic(node: ir.Node) -> str | None:
    for value in node.inputs:
        array = get_const_array(value)
        if array is not None and array.dtype != np.float32:
            return "it is not float32 arithmetic"
        if value is not None and value.dtype not in (None, ir.DataType.FLOAT):
            return "it is not float32 arithmetic"
    return None


def _check_where(node: ir.Node) -> str | None:
    for value in node.inputs[1:]:
        array = get_const_array(value)
        if (array is not None and array.dtype != np.float32) or (value is not None and value.dtype not in _FLOAT_DTYPES):
            return "it does not choose between floats"
        if array is not None and not np.isfinite(array).all():
            return "one of its constants is infinite"
    return None


def _check_average_pool(node: ir.Node) -> str | None:
    if node.attributes.get_int("ceil_mode", 0):
        return "ceil_mode is set"
    return None


def _check_concat(node: ir.Node) -> str | None:
    return _check_float_arithmetic(node)


def _check_softmax(node: ir.Node) -> str | None:
    rank = len(shapes.get_dims(node.inputs[0]) or ())
    axis = node.attributes.get_int("axis", -1)
    return None if axis in (-1, rank - 1) else "its axis is not the last one"


def _check_resize(node: ir.Node) -> str | None:
    mode = node.attributes.get_string("mode", "nearest")
    return None if mode == "nearest" else f"mode is {mode}, not nearest"


def _check_clip(node: ir.Node) -> str | None:
    low, high = get_clip_bounds(node)
    return None if low is not None and high is not None else "its bounds are not constant"


def _check_moves_float(node: ir.Node) -> str | None:
    first = node.inputs[0]
    if get_const_array(first) is not None:
        return "it moves a constant"
    if first is not None and first.dtype not in (None, ir.DataType.FLOAT):
        return "it does not move floats"
    return None


def _make_shared_range_op(kernel: str, check: SupportCheck = _check_moves_float) -> SupportedOp:
    return SupportedOp(OpKind.SHARED_RANGE, check, kernel)


#: onnxruntime's CPU provider; every row is a claim that the contract test checks
CPU_SUPPORTED_OPS: dict[str, SupportedOp] = {
    "Conv": SupportedOp(OpKind.WEIGHTED, _check_conv, "QLinearConv"),
    "Gemm": SupportedOp(OpKind.WEIGHTED, _check_gemm, "QGemm", float_output=True, int32_bias=True),
    "MatMul": SupportedOp(
        OpKind.WEIGHTED, _check_matmul, "MatMulIntegerToFloat|QLinearMatMul|QGemm", float_output=True, int32_bias=True
    ),
    "Add": SupportedOp(OpKind.OWN_RANGE, _check_float_arithmetic, "QLinearAdd"),
    "Mul": SupportedOp(OpKind.OWN_RANGE, _check_float_arithmetic, "QLinearMul"),
    "AveragePool": SupportedOp(OpKind.OWN_RANGE, _check_average_pool, "QLinearAveragePool"),
    "GlobalAveragePool": SupportedOp(OpKind.OWN_RANGE, _accept_always, "QLinearGlobalAveragePool"),
    "Sigmoid": SupportedOp(OpKind.OWN_RANGE, _accept_always, "QLinearSigmoid"),
    "LeakyRelu": SupportedOp(OpKind.OWN_RANGE, _accept_always, "QLinearLeakyRelu"),
    "Softmax": SupportedOp(OpKind.OWN_RANGE, _check_softmax, "QLinearSoftmax"),
    "Concat": SupportedOp(OpKind.OWN_RANGE, _check_concat, "QLinearConcat"),
    "Where": SupportedOp(OpKind.OWN_RANGE, _check_where, "QLinearWhere", activation_inputs=(1, None)),
    "MaxPool": _make_shared_range_op("MaxPool|NhwcMaxPool"),
    "Resize": _make_shared_range_op("Resize", _check_resize),
    "DepthToSpace": _make_shared_range_op("DepthToSpace"),
    "Split": _make_shared_range_op("Split"),
    "Reshape": _make_shared_range_op("Reshape"),
    "Transpose": _make_shared_range_op("Transpose"),
    "Flatten": _make_shared_range_op("Flatten|Reshape"),
    "Squeeze": _make_shared_range_op("Squeeze"),
    "Unsqueeze": _make_shared_range_op("Unsqueeze"),
    "Slice": _make_shared_range_op("Slice"),
    "Gather": _make_shared_range_op("Gather"),
    "Expand": _make_shared_range_op("Expand"),
    "Tile": _make_shared_range_op("Tile"),
    "Relu": SupportedOp(OpKind.FOLD, _accept_always, ""),
    "Clip": SupportedOp(OpKind.FOLD, _check_clip, ""),
}

#: TensorRT fuses around layers by itself: only what it quantises explicitly gets Q/DQ, and never a Softmax or a bias
TENSORRT_SUPPORTED_OPS: dict[str, SupportedOp] = {
    op: replace(row, kernel="", int32_bias=False, float_output=row.kind is OpKind.WEIGHTED)
    for op, row in CPU_SUPPORTED_OPS.items()
    if op not in ("Softmax", "Sigmoid", "LeakyRelu", "Mul", "Where", "Gather", "Tile")
}

TARGETS: dict[str, Target] = {
    "cpu": Target("cpu", "cpu", CPU_SUPPORTED_OPS),
    "cpu-no-vnni": Target("cpu-no-vnni", "cpu", CPU_SUPPORTED_OPS, saturating_pairs=True),
    "cuda": Target(
        "cuda",
        "cuda",
        {},
        unsupported_reason="the CUDA provider has no int8 kernels for Q/DQ: "
        "it would run Q, DQ and a float Conv, slower than float",
    ),
    "tensorrt": Target(
        "tensorrt",
        "tensorrt",
        TENSORRT_SUPPORTED_OPS,
        activation_symmetric=True,
    ),
}
