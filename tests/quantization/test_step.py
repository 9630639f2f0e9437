"""The quantize step on real small models: what runs in int8, what stays float, and how close it is."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support.quantize_graphs import STATIC, samples, weight
from tests.support.quantize_graphs import model as build


def test_the_model_given_is_not_changed(digits: ir.Model, calib: Samples) -> None:
    before = model_file.to_bytes(digits)
    quantize(digits, calib, STATIC)
    assert model_file.to_bytes(digits) == before


def test_a_network_of_convolutions_gets_fixed_ranges() -> None:
    """A Clip inside a unit is no border of int8: counted as one, it would make the fixed ranges look dear."""
    rng = np.random.default_rng(0)
    chain = "\n".join(f"c{i} = Conv<pads=[1,1,1,1]>(a{i}, w)\n a{i + 1} = Clip(c{i}, low, high)" for i in range(6))
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,16,56,56] a0) => (float[1,10] y) <float low = {{0}}, float high = {{6}}> {{
      {chain}
      p = GlobalAveragePool(a6)
      f = Flatten(p)
      y = Gemm(f, v)
    }}""")
    for name, shape in (("w", (16, 16, 3, 3)), ("v", (16, 10))):
        array = ir.tensor(rng.normal(size=shape).astype(np.float32) / 8, name=name)
        value = ir.Value(name=name, const_value=array, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        model.graph.register_initializer(value)
        for node in model.graph:
            for position, given in enumerate(node.inputs):
                if given is not None and given.name == name:
                    node.replace_input_with(position, value)
    data = open_samples({"a0": rng.normal(size=(4, 16, 56, 56)).astype(np.float32)}, model)
    _, report = quantize(model, data, STATIC)
    assert report.details["way"]["way"] == "static"
    assert report.changed["layers in int8"] >= 6


@pytest.mark.parametrize("target", ["tensorrt", "cpu"])
def test_ops_of_the_runtime_that_a_model_came_with_are_told_where_the_target_has_none(target: str) -> None:
    found = build("""g (float[n,8] x) => (float[n,8] y) {
      a = MatMul(x, w)
      b = com.microsoft.Gelu(a)
      y = MatMul(b, w)
    }""", w=weight(8, 8))  # fmt: skip
    found.opset_imports["com.microsoft"] = 1
    _, report = quantize(found, samples(found, 8), QuantizeOptions(target=target, placement="static"))
    told = [line for line in report.warnings if "com.microsoft.Gelu" in line]
    assert len(told) == (target == "tensorrt")
