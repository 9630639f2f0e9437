"""Small networks for the tests: random weights, but every shape of trouble that pruning has to get right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from tests.support import nets


class Builder:
    """A graph under construction: every method adds nodes and returns the name of what they put out."""

    def __init__(self, shape: Sequence[int | str], seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.shape = list(shape)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def weight(self, *shape: int) -> str:
        fan = int(np.prod(shape[1:])) or 1
        return self.constant(self.rng.normal(size=shape, scale=(2.0 / fan) ** 0.5).astype(np.float32))

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{kind}_{len(self.nodes)}", **attributes))
        return name

    def conv(self, x: str, into: int, out: int, size: int = 3, group: int = 1, stride: int = 1) -> str:
        pads = [size // 2] * 4
        bias = self.constant(self.rng.normal(size=out, scale=0.1).astype(np.float32))
        weight = self.weight(out, into // group, size, size)
        return self.op("Conv", x, weight, bias, pads=pads, group=group, strides=[stride, stride])

    def gemm(self, x: str, into: int, out: int) -> str:
        return self.op("Gemm", x, self.weight(out, into), self.weight(out), transB=1)

    def model(self, *outputs: str) -> ir.Model:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return model_file.load(onnx.shape_inference.infer_shapes(proto))


def residual(blocks: int = 2, width: int = 8, seed: int = 0) -> ir.Model:
    """Conv, residual blocks with an inner channel axis each, global pooling, a linear classifier."""
    b = Builder(["n", 3, 8, 8], seed)
    x = b.op("Relu", b.conv("x", 3, width))
    for _ in range(blocks):
        inner = b.op("Relu", b.conv(x, width, width))
        x = b.op("Relu", b.op("Add", b.conv(inner, width, width), x))
    pooled = b.op("Flatten", b.op("GlobalAveragePool", x))
    return b.model(b.gemm(pooled, width, 5))


def mobile(seed: int = 0) -> ir.Model:
    """Expand, depthwise, project, and around it an Add, as MobileNetV2 does."""
    b = Builder(["n", 3, 8, 8], seed)
    x = b.conv("x", 3, 8)
    wide = b.op("Relu", b.conv(x, 8, 24, 1))
    deep = b.op("Relu", b.conv(wide, 24, 24, 3, group=24))
    x = b.op("Add", b.conv(deep, 24, 8, 1), x)
    pooled = b.op("Flatten", b.op("GlobalAveragePool", x))
    return b.model(b.gemm(pooled, 8, 5))


def mlp(widths: Sequence[int] = (16, 32, 24, 5), seed: int = 0) -> ir.Model:
    """A perceptron over (n, widths[0])."""
    b = Builder(["n", widths[0]], seed)
    x = "x"
    for number, (into, out) in enumerate(pairwise(widths)):
        x = b.gemm(x, into, out)
        if number < len(widths) - 2:
            x = b.op("Relu", x)
    return b.model(x)


def samples(model: ir.Model, n: int, seed: int = 0) -> Samples:
    """``n`` smooth random inputs: neighbouring values are alike, as in images."""
    shape = [int(d) for d in list(model.graph.inputs[0].shape or [])[1:]]  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, *shape))
    for axis in range(1, x.ndim):
        x = x + np.roll(x, 1, axis=axis)
    return open_samples({"x": x.astype(np.float32)}, model)


def run(model: ir.Model, n: int = 8) -> np.ndarray:
    x = next(iter(nets.samples(model, n, 99).batches(n)))["x"]
    return next(iter(Session(model).run({"x": x}).values()))
