"""A transformer encoder as exporters write it, at any size: what the tests of linear layers stand on."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.runtime.session import Session


def encoder(
    *,
    layers: int = 6,
    hidden: int = 768,
    heads: int = 12,
    sequence: int | str = 128,
    batch: int | str = 1,
    pre_norm: bool = True,
    vocabulary: int = 0,
    outliers: float = 1.0,
    seed: int = 0,
) -> ir.Model:
    """Self-attention and a feed-forward block with Gelu (by Erf), ``layers`` times; opset 17.

    Args:
        layers: How many blocks.
        hidden: Width; the feed-forward block is four times as wide.
        heads: Of the attention.
        sequence: A size, or a name for a free dimension.
        batch: The same.
        pre_norm: LayerNormalization before each half (GPT, ViT) instead of behind its residual (BERT).
        vocabulary: With one, the input is token ids and an embedding table stands in front.
        outliers: How many times larger a few channels behind each LayerNormalization are, as trained models have them.
        seed: Of the weights.
    """
    build = _Builder(np.random.default_rng(seed))
    if vocabulary:
        source = ir.val("ids", ir.DataType.INT64, (batch, sequence))
        table = build.weight("table", (vocabulary, hidden), 1.0)
        x = build("Gather", table, source)
    else:
        source = ir.val("x", ir.DataType.FLOAT, (batch, sequence, hidden))
        x = source
    for index in range(layers):
        x = _block(build, f"layer{index}", x, hidden, heads, pre_norm, outliers)
    if pre_norm:
        x = _norm(build, "final", x, hidden, 1.0)
    x.name, x.dtype, x.shape = "y", ir.DataType.FLOAT, ir.Shape((batch, sequence, hidden))
    graph = ir.Graph([source], [x], nodes=build.nodes, initializers=build.initializers, opset_imports={"": 17}, name="g")
    return ir.Model(graph, ir_version=8)


class _Builder:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.nodes, self.initializers = rng, list[ir.Node](), list[ir.Value]()

    def __call__(self, op: str, *inputs: ir.Value, name: str = "", **attributes: object) -> ir.Value:
        node = ir.node(op, list(inputs), attributes or None, name=name or f"{op}_{len(self.nodes)}")
        node.outputs[0].name = f"{node.name}_out"
        self.nodes.append(node)
        return node.outputs[0]

    def constant(self, name: str, array: np.ndarray) -> ir.Value:
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
        self.initializers.append(value)
        return value

    def weight(self, name: str, shape: tuple[int, ...], scale: float) -> ir.Value:
        return self.constant(name, (self.rng.standard_normal(shape) * scale).astype(np.float32))

    def linear(self, name: str, x: ir.Value, inputs: int, outputs: int) -> ir.Value:
        y = self("MatMul", x, self.weight(f"{name}.weight", (inputs, outputs), 1 / math.sqrt(inputs)), name=name)
        return self("Add", y, self.weight(f"{name}.bias", (outputs,), 0.1))


def _norm(build: _Builder, name: str, x: ir.Value, hidden: int, outliers: float) -> ir.Value:
    scale = 1 + 0.1 * build.rng.standard_normal(hidden)
    scale[build.rng.choice(hidden, max(1, hidden // 128), replace=False)] *= outliers
    bias = build.weight(f"{name}.norm_bias", (hidden,), 0.1)
    weights = build.constant(f"{name}.norm_scale", scale.astype(np.float32))
    return build("LayerNormalization", x, weights, bias, name=f"{name}.norm", axis=-1, epsilon=1e-5)


def _block(build: _Builder, name: str, x: ir.Value, hidden: int, heads: int, pre_norm: bool, outliers: float) -> ir.Value:
    h = _norm(build, f"{name}.attention", x, hidden, outliers) if pre_norm else x
    x = build("Add", x, _attention(build, f"{name}.attention", h, hidden, heads))
    if not pre_norm:
        x = _norm(build, f"{name}.attention", x, hidden, outliers)
    h = _norm(build, f"{name}.mlp", x, hidden, outliers) if pre_norm else x
    h = build.linear(f"{name}.mlp.up", h, hidden, 4 * hidden)
    half, one = (build.constant(f"{name}.mlp.{v}", np.float32(v)) for v in (0.5, 1.0))
    root = build.constant(f"{name}.mlp.root2", np.float32(math.sqrt(2)))
    h = build("Mul", build("Mul", h, build("Add", build("Erf", build("Div", h, root)), one)), half)
    x = build("Add", x, build.linear(f"{name}.mlp.down", h, 4 * hidden, hidden))
    return x if pre_norm else _norm(build, f"{name}.mlp", x, hidden, outliers)


def _attention(build: _Builder, name: str, x: ir.Value, hidden: int, heads: int) -> ir.Value:
    split = build.constant(f"{name}.split", np.array([0, 0, heads, hidden // heads], np.int64))
    joined = build.constant(f"{name}.joined", np.array([0, 0, hidden], np.int64))

    def head(which: str, perm: list[int]) -> ir.Value:
        y = build.linear(f"{name}.{which}", x, hidden, hidden)
        return build("Transpose", build("Reshape", y, split), perm=perm)

    q, k, v = head("q", [0, 2, 1, 3]), head("k", [0, 2, 3, 1]), head("v", [0, 2, 1, 3])
    scores = build("Div", build("MatMul", q, k), build.constant(f"{name}.root", np.float32(math.sqrt(hidden // heads))))
    mixed = build("MatMul", build("Softmax", scores, axis=-1), v)
    mixed = build("Reshape", build("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
    return build.linear(f"{name}.out", mixed, hidden, hidden)


def small(**changes: object) -> ir.Model:
    return encoder(**{"layers": 2, "hidden": 64, "heads": 4, "sequence": 16, **changes})  # type: ignore[arg-type]


def data(model: ir.Model, count: int = 8, sequence: int = 16) -> Samples:
    source = model.graph.inputs[0]
    rng = np.random.default_rng(3)
    if source.dtype == ir.DataType.INT64:
        return open_samples({"ids": rng.integers(0, 500, (count, sequence))}, model)
    hidden = int(source.shape[2])  # type: ignore[index,arg-type]
    return open_samples({"x": rng.standard_normal((count, sequence, hidden)).astype(np.float32)}, model)


def sqnr(model: ir.Model, result: ir.Model, samples: Samples) -> float:
    signal = noise = 0.0
    for feed in samples.batches(1):
        wanted, found = (Session(m).run(feed)["y"].astype(np.float64) for m in (model, result))
        signal += float(np.square(wanted).sum())
        noise += float(np.square(wanted - found).sum())
    return 10 * float(np.log10(signal / max(noise, 1e-30)))


def tied(transposed_by: str) -> ir.Model:
    rng = np.random.default_rng(0)
    table = (rng.standard_normal((500, 64)) / 8).astype(np.float32)
    layer = {
        "Transpose": "t = Transpose<perm=[1,0]>(table)\n y = MatMul(h, t)",
        "Gemm": "y = Gemm<transB=1>(h, table)",
    }[transposed_by]
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 17]>
    g (int64[n] ids) => (float[n,500] y) {{
      h = Gather(table, ids)
      {layer}
    }}""")
    tensor = ir.tensor(table, name="table")
    model.graph.register_initializer(
        ir.Value(name="table", const_value=tensor, shape=ir.Shape(table.shape), type=ir.TensorType(tensor.dtype))
    )
    gather = model.graph[0]
    layer_node = model.graph[1]
    gather.replace_input_with(0, model.graph.initializers["table"])
    layer_node.replace_input_with(0 if transposed_by == "Transpose" else 1, model.graph.initializers["table"])
    return model
