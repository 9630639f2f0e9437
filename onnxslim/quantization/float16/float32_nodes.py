"""Which nodes stay in float32 when a model becomes float16.

It is found out as far as it can be:

1. ONNX gives the op no float16 (its schema), or it comes from another domain, or it holds graphs that are no bodies of
   control flow (left whole).
2. A constant that it reads would become zero, infinite or a denormal: an epsilon of 1e-12, a mask of -1e9.
3. The runtime would not survive it: a Transpose of the batch before a MatMul (:func:`_moves_batch_into_matrices`).
4. On the data, a tensor that it reads or writes comes within :data:`RANGE_HEADROOM` of float16's largest number, or is so
   small everywhere that float16 has only denormals for it.
5. A logarithm reads what a layer makes (:mod:`onnxslim.quantization.log_inputs`).
6. Without data, and in bodies, whose tensors nobody observes: ops whose results leave float16's range although what they
   read lies within (:data:`RANGE_OPS`), and what stands between two that stay; what hands on or reads numbers that lie
   beyond it (a mask of -3e38 times 0 is 0, and NaN once it is infinite; so is the softmax of a row that is masked whole).
7. It is part of a difference of squares (:mod:`onnxslim.quantization.float16.square_differences`).
8. A phase or an index is made of integers (:mod:`onnxslim.quantization.float16.whole_numbers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx.defs
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.traversal import iter_bodies, iter_subgraphs, walk
from onnxslim.quantization.float16.square_differences import DIFFERENCE_REASON, find_square_differences
from onnxslim.quantization.float16.whole_numbers import WHOLE_REASON, find_whole_numbers
from onnxslim.quantization.log_inputs import LOG_REASON, find_log_inputs

#: Largest and smallest normal float16.
MAX_FLOAT16, MIN_NORMAL_FLOAT16 = 65504.0, 6.2e-5
#: Other data may go as many times further than the calibration data did.
RANGE_HEADROOM = 4.0
_FLOAT, _FLOAT16 = "tensor(float)", "tensor(float16)"
#: Powers, sums and quotients: squares of 256 are infinite in float16, one by 1e-5 is, the logarithm of what became 0 is.
RANGE_OPS = frozenset({
    "Pow", "Exp", "Log", "Sqrt", "Reciprocal", "Sinh", "Cosh", "Tan", "Det", "DFT", "STFT", "LpPool", "GlobalLpPool",
    "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "CumSum",
    "CumProd", "LpNormalization", "MeanVarianceNormalization",
})  # fmt: skip
BETWEEN_REASON = "it stands between ops that stay in float32"
#: What costs next to nothing in float32, less than two casts around it.
_CHEAP_OPS = frozenset({
    "Add", "Sub", "Mul", "Div", "Neg", "Abs", "Max", "Min", "Clip", "Where", "Identity", "Reshape", "Squeeze", "Unsqueeze",
    "Expand", "Transpose", "ReduceMean", "ReduceMax", "ReduceMin",
})  # fmt: skip
#: What gives out numbers that it reads, or products, sums and differences of them.
_HANDING_ON = frozenset({
    "Mul", "Add", "Sub", "Neg", "Where", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Transpose", "Flatten",
    "ConstantOfShape", "Slice", "Split", "Concat", "Gather", "Tile", "Trilu",
})  # fmt: skip


def find_float32_nodes(model: ir.Model, peaks: Mapping[str, float]) -> dict[ir.Node, str]:
    """The nodes, those in bodies of control flow too, that compute with floats and must stay float32, each with the reason.

    Args:
        model: Prepared.
        peaks: By tensor the largest absolute value on the data; empty without data.
    """
    nodes = [node for node in walk(model.graph) if has_floats(node) and not any(iter_bodies(node))]
    found = {node: why for node in nodes if (why := _explain_float32(node, model, peaks)) is not None}
    found.update((node, LOG_REASON) for node in find_log_inputs(model) if node in nodes and node not in found)
    found.update((node, DIFFERENCE_REASON) for node in find_square_differences(nodes) if node not in found)
    found.update((node, WHOLE_REASON) for node in find_whole_numbers(nodes) if node not in found)
    unknown = [node for node in nodes if node not in found and not _has_known_range(node, peaks)]
    risky = [node for node in unknown if _may_leave_range(node)]
    found.update((node, "its results may leave float16's range, and there were no data to tell") for node in risky)
    far = _find_far(nodes, peaks)
    found.update((node, "it reads numbers that are infinite in float16") for node in far if node not in found)
    found.update((node, BETWEEN_REASON) for node in find_between(found, nodes) if node not in found)
    return found


def _find_far(nodes: Iterable[ir.Node], peaks: Mapping[str, float]) -> list[ir.Node]:
    """Those of ``nodes``, producers first, that read what a constant beyond float16's range came to, where nobody knows how
    large it is on the data.
    """
    far_values, far_nodes = set[ir.Value](), list[ir.Node]()
    for node in nodes:
        is_far = any(value in far_values for value in node.inputs)
        if is_far:
            far_nodes.append(node)
        if node.op_type not in _HANDING_ON or node.domain or _has_known_range(node, peaks):
            continue
        arrays = (_get_fill(node), *map(get_const_array, node.inputs))
        if is_far or any(a is not None and a.dtype == np.float32 and _describe_range_loss(a) == "infinite" for a in arrays):
            far_values.update(node.outputs)
    return far_nodes


def _get_fill(node: ir.Node) -> np.ndarray | None:
    """What a ConstantOfShape fills a tensor with, where it says so."""
    fill = node.attributes.get("value") if node.op_type == "ConstantOfShape" else None
    return None if fill is None else fill.as_tensor().numpy()


def _has_known_range(node: ir.Node, peaks: Mapping[str, float]) -> bool:
    return all(str(value.name) in peaks for value in node.outputs if value.name and is_float(value))


def _may_leave_range(node: ir.Node) -> bool:
    if node.op_type == "Mul" and node.inputs[0] is node.inputs[1]:
        return True
    is_quotient = node.op_type == "Div" and get_const_array(node.inputs[1]) is None
    return is_quotient or node.op_type in RANGE_OPS


def find_between(kept: Iterable[ir.Node], nodes: Iterable[ir.Node]) -> list[ir.Node]:
    """Those of ``nodes`` that cost next to nothing and are on a way of such from one of ``kept`` to another: in float16 they
    would cost two casts, and what the rounding of differences costs.
    """
    ends, cheap_nodes = list(kept), [node for node in nodes if node.op_type in _CHEAP_OPS and not node.domain]
    cheap, fixed = set(cheap_nodes), set(ends)

    def reach(start: list[ir.Node], *, forward: bool) -> set[ir.Node]:
        seen, stack = set[ir.Node](), list(start)
        while stack:
            node = stack.pop()
            step = node.successors() if forward else node.predecessors()
            new = [other for other in step if other in cheap and other not in seen]
            seen.update(new)
            stack.extend(new)
        return seen

    behind, before = reach(ends, forward=True), reach(ends, forward=False)
    return [node for node in cheap_nodes if node in behind and node in before and node not in fixed]


def has_floats(node: ir.Node) -> bool:
    """Whether it reads or gives float32, be it in a sequence."""
    values = [*(value for value in node.inputs if value is not None), *node.outputs]
    return node.op_type != "Constant" and any(is_float(value) or is_container(value) for value in values)


def is_float(value: ir.Value | None) -> bool:
    """Whether it is a float32 tensor."""
    return value is not None and value.dtype == ir.DataType.FLOAT and not is_container(value)


def is_container(value: ir.Value | None) -> bool:
    """Whether it is a sequence or an optional, whose dtype is that of what is inside."""
    return value is not None and value.type is not None and not isinstance(value.type, ir.TensorType)


def _explain_float32(node: ir.Node, model: ir.Model, peaks: Mapping[str, float]) -> str | None:
    if any(iter_subgraphs(node)):
        return "it holds graphs, which are left whole"
    schema = get_schema(node, model)
    if schema is None:
        return f"nothing is known about float16 for {node.domain or 'ai.onnx'}.{node.op_type}"
    values = [value for value in (*node.inputs, *node.outputs) if value is not None and value.name]
    if any(value.dtype is None for value in values):
        return "the type of a tensor of it is not known"
    if any(map(is_container, values)):
        return "sequences and optionals stay as they are"
    if not any(allows_float16(schema, index, outputs) for index, _, outputs in _list_floats(node)):
        return "it has no float16 inputs or outputs"
    if any(outputs and not allows_float16(schema, index, outputs) for index, _, outputs in _list_floats(node)):
        return "its output is float32 whatever goes in"
    if (fill := _get_fill(node)) is not None and (loss := _describe_range_loss(fill)) is not None:
        return f"what it fills a tensor with would become {loss} in float16"
    if _moves_batch_into_matrices(node):
        return "onnxruntime 1.32 dies of fusing a float16 Transpose that moves the first axis into a MatMul's matrices"
    for index, value, outputs in _list_floats(node):
        array = get_const_array(value) if not outputs else None
        if array is not None:
            if allows_float16(schema, index, outputs) and (loss := _describe_range_loss(array)) is not None:
                return f"a constant that it reads would become {loss} in float16"
        elif (peak := peaks.get(str(value.name))) is not None:
            if peak * RANGE_HEADROOM > MAX_FLOAT16:
                return f"a tensor of it reaches {peak:.3g}, float16 ends at {MAX_FLOAT16:.0f}"
            if 0 < peak < MIN_NORMAL_FLOAT16:
                return f"a tensor of it is below {MIN_NORMAL_FLOAT16:.1g} everywhere, float16 has only denormals there"
    return None


def _moves_batch_into_matrices(node: ir.Node) -> bool:
    """Whether ``node`` is a Transpose that makes its first axis one of the last two for a MatMul, as behind an LSTM whose
    batch comes first.

    The runtime's MatmulTransposeFusion makes a FusedMatMul with transBatchA of the two, also through a Cast, and reads past
    the float16 kernel that there is none of (signal 11).
    """
    if node.op_type != "Transpose" or node.domain:
        return False
    perm = node.attributes.get_ints("perm", ())
    return len(perm) > 2 and 0 in perm[-2:] and any(use.node.op_type == "MatMul" for use in node.outputs[0].uses())


def _describe_range_loss(array: np.ndarray) -> str | None:
    magnitudes = np.abs(array[np.isfinite(array)])
    if magnitudes.size and magnitudes.max() > MAX_FLOAT16:
        return "infinite"
    # a weight that is lost among larger ones costs nothing; a tensor of nothing else is an epsilon
    if magnitudes.size and 0 < magnitudes.max() < MIN_NORMAL_FLOAT16:
        return "zero or a denormal"
    return None


def _list_floats(node: ir.Node) -> list[tuple[int, ir.Value, bool]]:
    """(position, value, whether it is an output) of everything float32 about ``node``."""
    inputs = [(index, value, False) for index, value in enumerate(node.inputs) if value is not None]
    both = [*inputs, *((index, value, True) for index, value in enumerate(node.outputs))]
    return [entry for entry in both if is_float(entry[1])]


def get_schema(node: ir.Node, model: ir.Model) -> onnx.defs.OpSchema | None:
    """What ONNX says of the op at the model's opset; None of other domains'."""
    if node.domain:
        return None
    try:
        return onnx.defs.get_schema(node.op_type, model.opset_imports.get("", 1), "")
    except onnx.defs.SchemaError:
        return None


def allows_float16(schema: onnx.defs.OpSchema, index: int, is_output: bool) -> bool:
    """Whether the schema lets that input or output be float16 where it is float32."""
    formals = schema.outputs if is_output else schema.inputs
    formal = formals[min(index, len(formals) - 1)]
    allowed = [set(c.allowed_type_strs) for c in schema.type_constraints if c.type_param_str == formal.type_str]
    return bool(allowed) and _FLOAT16 in allowed[0] and _FLOAT in allowed[0]
