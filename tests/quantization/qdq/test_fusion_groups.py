"""What shares a scale, and what must not."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session


@pytest.mark.parametrize(("ratio", "float_concat"), [(1.0, False), (640.0, True)])
def test_boxes_and_scores_do_not_share_a_scale(ratio: float, float_concat: bool) -> None:
    draw = np.random.default_rng(0)
    graph = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,16,16,16] x) => (float[1,32,16,16] y) <float[16,16,1,1] wa, float[16,16,1,1] wb> {
          a = Conv(x, wa)
          b = Conv(x, wb)
          s = Sigmoid(b)
          y = Concat<axis = 1>(a, s)
        }"""
    proto = onnx.parser.parse_model(graph)
    for name, scale in (("wa", 0.05 * ratio), ("wb", 0.3)):
        weight = (scale * draw.normal(size=(16, 16, 1, 1))).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    model = model_file.load(proto)
    data = open_samples([draw.normal(size=(16, 16, 16)).astype(np.float32) for _ in range(16)], model)
    result, report = quantize(model, data, QuantizeOptions(float_units=()))
    kernels = [node.op_type for node in read_optimized_graph(result).graph]
    assert ("Concat" in kernels) == float_concat
    assert any("one scale for all" in skipped.reason for skipped in report.skipped) == float_concat
    batch = next(iter(data.batches(1)))
    scores = [Session(one).run(batch)["y"][:, 16:] for one in (model, result)]
    assert np.abs(scores[0] - scores[1]).max() < 0.05


@pytest.mark.parametrize(
    "moving", ["s = Reshape(x, n)", "s = Transpose<perm = [0, 1]>(x)", "t = Reshape(x, n)  s = Flatten(t)"]
)
def test_what_a_model_asks_for_missing_values_stays_float(moving: str) -> None:
    """The codes of int8 hold no NaN, and data without one could not show what that costs."""
    draw = np.random.default_rng(0)
    proto = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N,64] x) => (float[N,8] y) <float[64,8] w, float zero = {{0}}, int64[2] n = {{-1, 64}}> {{
          {moving}
          i = IsNaN(s)
          f = Where(i, zero, s)
          y = MatMul(f, w)
        }}""")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(draw.normal(size=(64, 8)).astype(np.float32), "w"))
    model, x = model_file.load(proto), draw.normal(size=(32, 64)).astype(np.float32)
    options = QuantizeOptions(activations="static", placement="static", float_units=())
    result, _ = quantize(model, open_samples({"x": x}, model), options)
    x[draw.random(x.shape) < 0.2] = np.nan
    expected, found = (Session(one).run({"x": x})["y"] for one in (model, result))
    assert np.square(found - expected).sum() < 0.01 * np.square(expected).sum()
