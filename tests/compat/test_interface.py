"""The interface survives every command: what a model takes and gives, by name, order and type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.compat.drop_in import slim
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.simplification.step import simplify
from tests.support.quantize_graphs import model

N = 64
RNG = np.random.default_rng(0)
ARRAYS = {name: (RNG.standard_normal((N, N)) / 8).astype(np.float32) for name in "wv"} | {"k": np.array([3.5], np.float32)}
LAYERS = "h = MatMul (x, w) \n r = Relu (h) \n y = MatMul (r, v)"
#: The inputs, the outputs, and the nodes besides the layers.
INTERFACES = {
    "an input is an output": (f"float[n,{N}] x", f"float[n,{N}] y, float[n,{N}] x", ""),
    "an input is an output and nothing reads it": (f"float[n,{N}] x, float[n] q", f"float[n,{N}] y, float[n] q", ""),
    "an integer input is an output": (f"float[n,{N}] x, int64[n] q", f"int64[n] q, float[n,{N}] y", ""),
    "an input nothing reads": (f"float[n,{N}] x, float[n,3] q, int64[n] m", f"float[n,{N}] y", ""),
    "an initializer is an output": (f"float[n,{N}] x", f"float[n,{N}] y, float[1] k", ""),
    "an initializer is an output and read": (f"float[n,{N}] x", f"float[n,{N}] z, float[1] k", "z = Mul (y, k)"),
    "an input through an Identity": (f"float[n,{N}] x", f"float[n,{N}] y, float[n,{N}] i", "i = Identity (x)"),
    "one tensor under two names": (f"float[n,{N}] x", f"float[n,{N}] y, float[n,{N}] i", "i = Identity (y)"),
    "an inner tensor is an output": (f"float[n,{N}] x", f"float[n,{N}] t, float[n,{N}] y", "t = Tanh (y)"),
}


def build(interface: str) -> ir.Model:
    inputs, outputs, more = INTERFACES[interface]
    used = {name: array for name, array in ARRAYS.items() if name != "k" or "k" in outputs}
    made = model(f"g ({inputs}) => ({outputs}) {{ {LAYERS} \n {more} }}", **used)
    for index, value in enumerate(list(made.graph.outputs)):
        if value.name in made.graph.initializers:  # the parser makes a value of its own of it
            made.graph.outputs[index] = made.graph.initializers[value.name]
    return model_file.load(model_file.to_bytes(made))


def make_feed(original: ir.Model, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shapes = {str(value.name): [count, *[int(d) for d in list(value.shape or ())[1:]]] for value in original.graph.inputs}
    integer = {str(value.name) for value in original.graph.inputs if value.dtype == ir.DataType.INT64}
    return {
        name: rng.integers(0, 9, shape) if name in integer else rng.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def quantize_with(**options: object) -> Callable[[ir.Model], ir.Model]:
    quantize_options = QuantizeOptions(placement="static", **options)  # type: ignore[arg-type]
    return lambda made: quantize(made, open_samples(make_feed(made, 16), made), quantize_options)[0]


def slim_to(dtype: str | None) -> Callable[[ir.Model], ir.Model]:
    def run(made: ir.Model) -> ir.Model:
        proto = slim(model_file.to_bytes(made), dtype=dtype)
        assert isinstance(proto, onnx.ModelProto)
        return model_file.load(proto)

    return run


COMMANDS: dict[str, Callable[[ir.Model], ir.Model]] = {
    "simplify": lambda made: simplify(made)[0],
    "slim": slim_to(None),
    "slim fp16": slim_to("fp16"),
    "slim fp32": slim_to("fp32"),
    "static": quantize_with(activations="static", target="cpu", min_sqnr=0.0),
    "dynamic": quantize_with(activations="dynamic", target="cpu"),
    "float16": quantize_with(target="cuda"),
    **{
        weights: quantize_with(weights=weights)
        for weights in ("int8", "int4", "int8:qdq", "int4:qdq", "codebook:16", "float16")
    },
    "prune": lambda made: prune(made, None, PruneOptions(remove=0.2, round_to=1, min_layer_params=0))[0],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("interface", INTERFACES)
def test_the_interface_survives(interface: str, command: str) -> None:
    original = build(interface)
    result = COMMANDS[command](original)
    halved = {ir.DataType.FLOAT: ir.DataType.FLOAT16} if command == "slim fp16" else {}

    def describe(found: ir.Model, changed: dict[ir.DataType, ir.DataType]) -> list[tuple[object, ...]]:
        values = (*found.graph.inputs, ..., *found.graph.outputs)
        return [(v.name, changed.get(v.dtype, v.dtype)) if isinstance(v, ir.Value) else (v,) for v in values]  # type: ignore[arg-type]

    assert describe(result, {}) == describe(original, halved)
    feed = make_feed(original, 3)
    expected = Session(original).run(feed)
    mine = {
        name: array.astype(np.float16) if halved and array.dtype == np.float32 else array for name, array in feed.items()
    }
    for optimize in (True, False):
        found = Session(result, SessionConfig(optimize=optimize)).run(mine)
        for name in {"x", "q", "k"} & set(expected):  # what no layer computes
            np.testing.assert_allclose(found[name], expected[name], atol=2e-3)
