"""The targets' claims, checked against the installed runtime.

Every row of a table is built as a small model (an int8 Conv before it, an int8 Conv behind it), quantised, optimised by the
runtime and read back: what the table says fuses must leave its kernel and no Q/DQ pair, what it leaves out must leave
some. Tests run this, and so does ``onnxslim doctor`` on machines that we do not have.
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
from onnxslim.quantize import calibrate, encode
from onnxslim.quantize.insert import Choices, write_qdq
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import make_plan, name_nodes, units
from onnxslim.quantize.targets import Kind, Row, Target
from onnxslim.runtime.optimized import optimized
from onnxslim.runtime.session import SessionConfig

_MAP, _ROWS = "float[1,16,8,8]", "float[4,16]"

#: op → how ``b`` is made from ``a``; names in capitals are weights, given with their shapes
PATTERNS: dict[str, str] = {
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
    "Expand": "c = GlobalAveragePool(a)\n b = Expand(c, I)  # I:1,16,4,4",
    "Tile": "b = Tile(a, I)  # I:1,1,2,1",
    "Relu": "b = Relu(a)",
    "Clip": "b = Clip(a, LOW, HIGH)  # LOW=0 HIGH=6",
    "HardSwish": "b = HardSwish(a)",
    "HardSigmoid": "b = HardSigmoid(a)",
    "Tanh": "b = Tanh(a)",
    "ReduceMean": "b = ReduceMean<axes=[2,3], keepdims=1>(a)",
    "GlobalMaxPool": "b = GlobalMaxPool(a)",
    "Sub": "c = Conv(a, V)\n b = Sub(a, c)  # V[16,16,1,1]",
    "Exp": "b = Exp(a)",
    "Max": "c = Conv(a, V)\n b = Max(a, c)  # V[16,16,1,1]",
    "SpaceToDepth": "c = SpaceToDepth<blocksize=2>(a)\n b = DepthToSpace<blocksize=2>(c)",
    "ConvTranspose": "b = ConvTranspose<strides=[2,2]>(a, V)  # V[16,16,2,2]",
}
#: Linear layers stand between linear layers.
LINEAR: dict[str, str] = {
    "Gemm": "b = Gemm(a, V, B)  # V[16,16] B[16]",
    "MatMul": "b = MatMul(a, V)  # V[16,16]",
}
#: Quantised although the table has no row for them: they must not fuse, or the table is out of date.
UNFUSED = tuple(op for op in PATTERNS if op in (
    "HardSwish", "HardSigmoid", "Tanh", "ReduceMean", "GlobalMaxPool", "Sub", "Exp", "Max", "SpaceToDepth"
))  # fmt: skip


@dataclass(frozen=True)
class Finding:
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


def check(target: Target, config: SessionConfig | None = None) -> list[Finding]:
    """Build, optimise and read back every row of ``target``, and the ops that it leaves out."""
    rows = {op: row for op, row in target.rows.items() if op in PATTERNS or op in LINEAR}
    found = [try_row(target, op, row, True, config) for op, row in rows.items()]
    own = Row(Kind.OWN, lambda node: None, "")
    for op in UNFUSED:
        forced = replace(target, rows={**target.rows, op: own})
        found.append(try_row(forced, op, own, False, config))
    return found


def try_row(target: Target, op: str, row: Row, claimed: bool, config: SessionConfig | None) -> Finding:
    """Whether ``op``, quantised as ``row`` says, becomes an int8 kernel."""
    model = quantised_pattern(target, op)
    ops = Counter(node.op_type for node in optimized(model, config).graph)
    surviving = ops["QuantizeLinear"] + ops["DequantizeLinear"]
    kernels = [kernel for kernel in row.kernel.split("|") if kernel]
    if row.kind is Kind.FOLD:
        fused = op not in ops and surviving <= 2
    else:
        fused = surviving <= 2 and (not kernels or any(kernel in ops for kernel in kernels))
    return Finding(op, claimed, fused, dict(ops))


def quantised_pattern(target: Target, op: str) -> ir.Model:
    """The pattern of ``op`` with Q/DQ as ``target`` places them."""
    model = pattern(op)
    shapes.infer(model)
    name_nodes(model)
    found = units(model, target)
    chosen = make_plan(found, everything(found))
    shape = shapes.sizes(model.graph.inputs[0])
    feed = {"x": np.random.default_rng(0).normal(size=shape).astype(np.float32)}
    seen = calibrate.statistics(model, [feed], list(chosen.tensors))
    encodings = {}
    for names in chosen.groups().values():
        low, high = min(seen.low[name] for name in names), max(seen.high[name] for name in names)
        encodings.update(dict.fromkeys(names, encode.activation(low, high, symmetric=target.activation_symmetric)))
    write_qdq(model, chosen, Choices(encodings, narrow=target.saturating_pairs))
    return model


def pattern(op: str) -> ir.Model:
    """The float model: a layer, the op, a layer."""
    linear = op in LINEAR
    middle, _, weights = (LINEAR if linear else PATTERNS)[op].partition("#")
    # a layer on both sides, so that the op stands inside an int8 region
    around = ("a = Gemm(x, W, BIAS)", "y = Gemm(b, U, BIAS)") if linear else ("a = Conv(x, W)", "y = Conv(b, U)")
    text = f"agraph ({_ROWS if linear else _MAP} x) => (float y) {{\n {around[0]}\n {middle.strip()}\n {around[1]}\n}}"
    graph = onnx.parser.parse_graph(text)
    rng = np.random.default_rng(1)
    shape = (16, 16) if linear else (16, 16, 1, 1)
    arrays = {name: rng.normal(size=shape).astype(np.float32) / 4 for name in ("W", "U")}
    arrays["BIAS"] = rng.normal(size=16).astype(np.float32)
    for word in weights.split():
        arrays.update(_weight(word, rng))
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(onnx.numpy_helper.from_array(a, name) for name, a in arrays.items() if name in used)
    graph.output[0].type.tensor_type.ClearField("shape")
    opset = onnx.helper.make_opsetid("", 17)
    return ir.from_proto(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8))


def _weight(word: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """``V[2,3]`` random floats, ``S=1,2`` floats, ``I:1,2`` integers."""
    if "[" in word:
        name, shape = word.rstrip("]").split("[")
        return {name: (rng.normal(size=[int(n) for n in shape.split(",")]) / 4).astype(np.float32)}
    if "=" in word:
        name, values = word.split("=")
        floats = np.array([float(v) for v in values.split(",")], np.float32)
        return {name: floats.reshape(()) if floats.size == 1 else floats}
    name, values = word.split(":")
    return {name: np.array([int(v) for v in values.split(",")], np.int64)}
