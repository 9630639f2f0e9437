"""Graphs to be quantised, in ONNX's textual form, and what is asked of the result."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.runtime.optimized_graph import read_optimized_graph
from tests.support.encoder import sqnr


def model(text: str, **constants: np.ndarray) -> ir.Model:
    found = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    for name, array in constants.items():
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        found.graph.register_initializer(value)
        for node in found.graph.all_nodes():
            for index, old in enumerate(node.inputs):
                if old is not None and old.name == name:
                    node.replace_input_with(index, value)
    return found


def types(found: ir.Model, op: str) -> set[ir.DataType | None]:
    return {value.dtype for node in found.graph if node.op_type == op for value in node.outputs}


EVERYTHING = QuantizeOptions(activations="static", float_units=())
_SEED = 7  # none that tests draw weights by themselves with
_RNG = np.random.default_rng(_SEED)


def restart_draws() -> None:
    """Draw from the start again, so that a test's weights and samples do not depend on which tests ran before it."""
    _RNG.bit_generator.state = np.random.default_rng(_SEED).bit_generator.state


def weight(*shape: int) -> np.ndarray:
    return (_RNG.standard_normal(shape) / 8).astype(np.float32)


def samples(found: ir.Model, *shape: int, count: int = 8, **others: np.ndarray) -> Samples:
    x = _RNG.standard_normal((count, *shape)).astype(np.float32)
    return open_samples({"x": x, **others}, found)


def kernels(found: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in read_optimized_graph(found).graph.all_nodes())


def close(before: ir.Model, after: ir.Model, data: Samples, least: float = 30.0) -> bool:
    """Whether the outputs ``y`` are at least ``least`` dB from each other's error."""
    return sqnr(before, after, data) > least


def options(weights: str, **changes: object) -> QuantizeOptions:
    return QuantizeOptions(weights=weights, placement="static", **changes)  # type: ignore[arg-type]


STATIC = QuantizeOptions(placement="static")


def chain(spoilt: int) -> ir.Model:
    """Five layers whose channels are alike, but for one input of one layer that is thirty times too large."""
    rng = np.random.default_rng(0)
    weights = {f"w{i}": (rng.standard_normal((32, 32)) / 4).astype(np.float32) for i in range(5)}
    lines = [f"a{i} = MatMul({'x' if i == 0 else f'r{i - 1}'}, w{i})\n r{i} = Tanh(a{i})" for i in range(5)]
    scale = np.ones(32, np.float32)
    scale[3] = 30.0
    lines[spoilt] = lines[spoilt].replace(f"MatMul({'x' if spoilt == 0 else f'r{spoilt - 1}'}", "MatMul(big")
    lines.insert(spoilt, f"big = Mul({'x' if spoilt == 0 else f'r{spoilt - 1}'}, scale)")
    weights[f"w{spoilt}"][3] /= 30.0
    body = "\n ".join(lines)
    return model(f"g (float[n,32] x) => (float[n,32] y) {{ {body}\n y = Identity(r4) }}", **weights, scale=scale)
