"""The quantize step on real small models: what runs in int8, what stays float, and how close it is."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session
from onnxslim.validation.evaluation import evaluate
from tests.support.paths import SAMPLES
from tests.support.quantize_graphs import STATIC


def test_every_layer_that_was_placed_runs_in_int8_and_answers_stay(digits: ir.Model, calib: Samples) -> None:
    result, account = quantize(digits, calib, QuantizeOptions(float_units=()))
    ops = [node.op_type for node in read_optimized_graph(result).graph]
    assert "Conv" not in ops
    assert account.changed["layers in int8"] == len(account.details["layers"])
    left = [(one["op"], one["why"]) for one in account.details["surviving"]]
    assert ("QuantizeLinear", "it is an input of the model") in left
    assert "ReduceMean" not in ops, "a mean over the map is a pool, which runs in int8"
    held = open_samples(SAMPLES / "digits_eval.npz", digits)
    judged = evaluate(result, held, reference=digits)
    agreement = judged.find("agreement")
    assert agreement is not None
    assert agreement.result > 0.98


def test_the_model_given_is_not_changed(digits: ir.Model, calib: Samples) -> None:
    before = model_file.to_bytes(digits)
    quantize(digits, calib, STATIC)
    assert model_file.to_bytes(digits) == before


def test_an_excluded_layer_really_stays_float(digits: ir.Model, calib: Samples) -> None:
    work = model_file.clone(digits)
    name_nodes(work.graph.all_nodes())
    convs = [node for node in work.graph if node.op_type == "Conv"]
    inner = str(convs[len(convs) // 2].name)
    result, account = quantize(digits, calib, QuantizeOptions(exclude=(inner,), float_units=()))
    layers = {layer["name"]: layer for layer in account.details["layers"]}
    assert layers[inner]["kernel"] == "float"
    weight = next(node for node in work.graph if node.name == inner).inputs[1]
    assert weight is not None
    floats = [v.name for node in read_optimized_graph(result).graph if node.op_type == "Conv" for v in node.inputs[1:2] if v]
    assert len(floats) == 1
    assert sum(layer["kernel"] == "int8" for layer in layers.values()) == len(layers) - 1


def test_a_first_sample_without_a_signal_spoils_nothing(digits: ir.Model, calib: Samples) -> None:
    images = np.concatenate([feed["image"] for feed in calib.batches(64)])
    silent = open_samples(list(np.concatenate([np.zeros_like(images[:1]), 1e6 * images[:40]])), digits)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        _, account = quantize(digits, silent, STATIC)
    assert all(layer["sqnr_db"] > 15 for layer in account.details["layers"] if layer["kernel"] == "int8")


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
    result, account = quantize(model, data, QuantizeOptions(float_units=()))
    kernels = [node.op_type for node in read_optimized_graph(result).graph]
    assert ("Concat" in kernels) == float_concat
    assert any("one scale for all" in declined.reason for declined in account.declined) == float_concat
    batch = next(iter(data.batches(1)))
    scores = [Session(one).run(batch)["y"][:, 16:] for one in (model, result)]
    assert np.abs(scores[0] - scores[1]).max() < 0.05


def test_a_pattern_that_matches_nothing_names_the_nearest(digits: ir.Model, calib: Samples) -> None:
    with pytest.raises(UsageError, match="matches no node"):
        quantize(digits, calib, QuantizeOptions(exclude=("no_such_layer",)))


def test_a_quantised_model_is_refused(digits: ir.Model, calib: Samples) -> None:
    result, _ = quantize(digits, calib, STATIC)
    with pytest.raises(UnsupportedError, match="quantised already: QDQ"):
        quantize(result, calib, STATIC)


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
    _, account = quantize(model, data, STATIC)
    assert account.details["way"]["way"] == "static"
    assert account.changed["layers in int8"] >= 6
