"""Conformance checks: the targets' tables against the installed runtime.

Every row of a table is built as a small model (an int8 Conv before it, an int8 Conv behind it), quantised, optimised by the
runtime and read back: what the table says fuses must leave its kernel and no Q/DQ pair, what it leaves out must leave
some. The conditions that placement rests on beside the rows are in ``claims.py``. Tests run all of it, and so does
``onnxslim doctor`` on machines that we do not have.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.traversal import name_nodes
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.conformance.fusion_claims import list_claims
from onnxslim.quantization.numerics import affine
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups, make_plan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq_in_place
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.targets.base import OpKind, SupportedOp, Target
from onnxslim.runtime.devices.machine_figures import name_processor
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import SessionConfig

_MAP_TYPE, _ROWS_TYPE = "float[1,16,8,8]", "float[4,16]"

#: op → how ``b`` is made from ``a``; names in capitals are weights, given with their shapes
FUSED_PATTERNS: dict[str, str] = {
    "Conv": "b = Conv(a, V)  # V[16,16,3,3]",
    "Add": "c = Conv(a, V)\n b = Add(a, c)  # V[16,16,1,1]",
    "Mul": "c = GlobalAveragePool(a)\n d = Conv(c, V)\n e = Sigmoid(d)\n b = Mul(a, e)  # V[16,16,1,1]",
    "AveragePool": "b = AveragePool<kernel_shape=[2,2], strides=[2,2]>(a)",
    "GlobalAveragePool": "b = GlobalAveragePool(a)",
    "Sigmoid": "b = Sigmoid(a)",
    "LeakyRelu": "b = LeakyRelu<alpha=0.1>(a)",
    "Softmax": "b = Softmax<axis=-1>(a)",
    "Concat": "c = Conv(a, V)\n b = Concat<axis=2>(a, c)  # V[16,16,1,1]",
    "MaxPool": "b = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)",
    "Resize": 'b = Resize<mode="nearest">(a, , S)  # S=1,1,2,2',
    "DepthToSpace": "c = Conv(a, V)\n b = DepthToSpace<blocksize=2>(c)  # V[64,16,1,1]",
    "Split": "c, d = Split<axis=2>(a, I)\n b = Add(c, d)  # I:4,4",
    "Reshape": "b = Reshape(a, I)  # I:1,16,4,16",
    "Transpose": "b = Transpose<perm=[0,1,3,2]>(a)",
    "Flatten": "c = Flatten(a)\n b = Reshape(c, I)  # I:1,16,8,8",
    "Squeeze": "c = Unsqueeze(a, I)\n b = Squeeze(c, I)  # I:4",
    "Unsqueeze": "c = Unsqueeze(a, I)\n b = Squeeze(c, I)  # I:4",
    "Slice": "b = Slice(a, I, J, K, L)  # I:0 J:8 K:2 L:2",
    "Gather": "b = Gather<axis=2>(a, I)  # I:0,2,4,6",
    "Where": "c = Conv(a, V)\n b = Where(M, a, c)  # V[16,16,1,1] M?8,8",
    "Expand": "c = GlobalAveragePool(a)\n b = Expand(c, I)  # I:1,16,4,4",
    "Tile": "b = Tile(a, I)  # I:1,1,2,1",
    "Relu": "b = Relu(a)",
    "Clip": "b = Clip(a, LOW, HIGH)  # LOW=0 HIGH=6",
}
#: Linear layers stand between linear layers.
LINEAR_PATTERNS: dict[str, str] = {
    "Gemm": "b = Gemm(a, V, B)  # V[16,16] B[16]",
    "MatMul": "b = MatMul(a, V)  # V[16,16]",
}
#: Quantised although the table has no row for them: they must not fuse, or the table is out of date.
UNFUSED_PATTERNS: dict[str, str] = {
    "HardSwish": "b = HardSwish(a)",
    "HardSigmoid": "b = HardSigmoid(a)",
    "PRelu": "b = PRelu(a, V)  # V[16,1,1]",
    "Tanh": "b = Tanh(a)",
    "Erf": "b = Erf(a)",
    "LayerNormalization": "b = LayerNormalization<axis=-1>(a, V)  # V[8]",
    "InstanceNormalization": "b = InstanceNormalization(a, V, B)  # V[16] B[16]",
    "ReduceMean": "b = ReduceMean<axes=[2,3], keepdims=1>(a)",
    "GlobalMaxPool": "b = GlobalMaxPool(a)",
    "Sub": "c = Conv(a, V)\n b = Sub(a, c)  # V[16,16,1,1]",
    "Div": "c = Conv(a, V)\n b = Div(a, c)  # V[16,16,1,1]",
    "Pow": "b = Pow(a, S)  # S=2",
    "Max": "c = Conv(a, V)\n b = Max(a, c)  # V[16,16,1,1]",
    "Min": "c = Conv(a, V)\n b = Min(a, c)  # V[16,16,1,1]",
    "Pad": "b = Pad(a, I)  # I:0,0,1,1,0,0,1,1",
    "Resize linear": 'b = Resize<mode="linear">(a, , S)  # S=1,1,2,2',
    "Resize cubic": 'b = Resize<mode="cubic">(a, , S)  # S=1,1,2,2',
    "SpaceToDepth": "c = SpaceToDepth<blocksize=2>(a)\n b = DepthToSpace<blocksize=2>(c)",
    "Exp": "b = Exp(a)",
    "Sqrt": "c = Mul(a, a)\n b = Sqrt(c)",
    "ConvTranspose": "b = ConvTranspose<strides=[2,2]>(a, V)  # V[16,16,2,2]",
}


@dataclass(frozen=True)
class ConformanceResult:
    """One row's claim and what the runtime did.

    Attributes:
        op: The op type.
        claimed: Whether the table says that it fuses.
        fused: Whether it did.
        ops: What remained.
    """

    op: str
    claimed: bool
    fused: bool
    ops: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether the claim is true here."""
        return self.claimed == self.fused


def check_target(target: Target, config: SessionConfig | None = None) -> list[ConformanceResult]:
    """Build, optimise and read back every row of ``target``, and the ops that it leaves out."""
    rows = {op: row for op, row in target.supported_ops.items() if op in FUSED_PATTERNS or op in LINEAR_PATTERNS}
    results = [check_op(target, op, row, True, config) for op, row in rows.items()]
    own_row = SupportedOp(OpKind.OWN_RANGE, lambda node: None, "")
    for name in UNFUSED_PATTERNS:
        results.append(check_op(force_op(target, name), name, own_row, False, config))
    return results


def check_claims(config: SessionConfig | None = None) -> list[ConformanceResult]:
    """Every line of ``claims.py`` against the runtime; ``op`` of a finding is what the claim says."""
    results = []
    for claim in list_claims(name_processor()):
        ops = Counter(node.op_type for node in read_optimized_graph(claim.build(), config).graph)
        results.append(ConformanceResult(claim.description, True, claim.holds(ops), dict(ops)))
    return results


def force_op(target: Target, name: str) -> Target:
    """``target`` with a row for an op that it leaves out: its activations and its output between Q and DQ."""
    row = SupportedOp(
        OpKind.OWN_RANGE, lambda node: None, "", activation_inputs=(0, 2 if "(a, c)" in UNFUSED_PATTERNS[name] else 1)
    )
    return replace(target, supported_ops={**target.supported_ops, name.split()[0]: row})


def check_op(target: Target, op: str, row: SupportedOp, claimed: bool, config: SessionConfig | None) -> ConformanceResult:
    """Whether ``op``, quantised as ``row`` says, becomes an int8 kernel."""
    model = build_quantized_pattern(target, op)
    ops = Counter(node.op_type for node in read_optimized_graph(model, config).graph)
    surviving = ops["QuantizeLinear"] + ops["DequantizeLinear"]
    kernels = [kernel for kernel in row.kernel.split("|") if kernel]
    if row.kind is OpKind.FOLD:
        fused = op not in ops and surviving <= 2
    else:
        fused = surviving <= 2 and (not kernels or any(kernel in ops for kernel in kernels))
    return ConformanceResult(op, claimed, fused, dict(ops))


def build_quantized_pattern(target: Target, op: str) -> ir.Model:
    """The pattern of ``op`` with Q/DQ as ``target`` places them."""
    model = build_pattern(op)
    shapes.infer(model)
    name_nodes(model.graph.all_nodes())
    all_units = find_fusion_groups(model, target)
    plan = make_plan(all_units, find_int8_capable(all_units))
    shape = shapes.resolve_sizes(model.graph.inputs[0])
    feed = {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    statistics = observe.collect_statistics(model, [feed], list(plan.tensors))
    encodings = {}
    for names in plan.list_tensor_groups().values():
        low, high = min(statistics.low[name] for name in names), max(statistics.high[name] for name in names)
        encodings.update(
            dict.fromkeys(names, affine.compute_activation_encoding(low, high, symmetric=target.activation_symmetric))
        )
    insert_qdq_in_place(model, plan, QuantizationParams(encodings, reduce_range=target.saturating_pairs))
    return model


def build_pattern(op: str) -> ir.Model:
    """The float model: a layer, the op, a layer."""
    linear = op in LINEAR_PATTERNS
    middle, _, weight_specs = {**FUSED_PATTERNS, **LINEAR_PATTERNS, **UNFUSED_PATTERNS}[op].partition("#")
    # a layer on both sides, so that the op stands inside an int8 region
    outer_layers = ("a = Gemm(x, W, BIAS)", "y = Gemm(b, U, BIAS)") if linear else ("a = Conv(x, W)", "y = Conv(b, U)")
    input_type = _ROWS_TYPE if linear else _MAP_TYPE
    body = "\n ".join((outer_layers[0], middle.strip(), outer_layers[1]))
    text = f"agraph ({input_type} x) => (float y) {{\n {body}\n}}"
    graph = onnx.parser.parse_graph(text)
    rng = np.random.default_rng(1)
    shape = (16, 16) if linear else (16, 16, 1, 1)
    arrays = {name: rng.normal(size=shape).astype(np.float32) / 4 for name in ("W", "U")}
    arrays["BIAS"] = rng.normal(size=16).astype(np.float32)
    for weight_spec in weight_specs.split():
        arrays.update(_parse_weight(weight_spec, rng))
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in arrays.items() if name in used)
    graph.output[0].type.tensor_type.ClearField("shape")
    opset = onnx.helper.make_opsetid("", 17)
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8))


def _parse_weight(weight_spec: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``V[2,3]`` random floats, ``M?2,3`` random booleans, ``S=1,2`` floats, ``I:1,2`` integers."""
    if "?" in weight_spec:
        name, shape = weight_spec.split("?")
        return {name: rng.normal(size=[int(n) for n in shape.split(",")]) > 0}
    if "[" in weight_spec:
        name, shape = weight_spec.rstrip("]").split("[")
        return {name: (rng.normal(size=[int(n) for n in shape.split(",")]) / 4).astype(np.float32)}
    if "=" in weight_spec:
        name, values = weight_spec.split("=")
        floats = np.array([float(v) for v in values.split(",")], np.float32)
        return {name: floats.reshape(()) if floats.size == 1 else floats}
    name, values = weight_spec.split(":")
    return {name: np.array([int(v) for v in values.split(",")], np.int64)}
