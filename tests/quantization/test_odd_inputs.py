"""Odd models and odd data are quantised all the same, or refused by name; what was done is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import AddInitializersToInputsPass

from onnxslim.core.errors import InvalidDataError, UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq import placement
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.odd_network import images, network
from tests.support.quantize_graphs import model as graph

OPTIONS = QuantizeOptions(placement="static", activations="static", calibration="minmax")
RNG = np.random.default_rng(0)


def test_a_nan_that_a_where_hides_is_passed_over() -> None:
    x = images()
    model = network(middle="l = Log(a)\n n = IsNaN(l)\n b = Where(n, zero, l)")
    result, _ = quantize(model, open_samples({"x": x}, model), OPTIONS)
    assert np.isfinite(Session(result).run({"x": x[:1]})["y"]).all()


def test_a_nan_that_reaches_every_output_names_tensor_and_sample() -> None:
    x = images()
    model = network(middle="l = Log(a)\n b = Neg(l)")
    with pytest.raises(InvalidDataError, match=r"tensor l is NaN or infinite in calibration sample 0, and every output"):
        quantize(model, open_samples({"x": x}, model), OPTIONS)


def test_a_model_that_lists_its_weights_among_the_inputs_is_quantised_like_any_other() -> None:
    model = network()
    model.ir_version, model.opset_imports[""] = 3, 9
    AddInitializersToInputsPass()(model)
    x = images(8)
    result, report = quantize(model, open_samples({"x": x}, model), OPTIONS)
    assert report.changed["layers in int8"] == 2
    assert [value.name for value in result.graph.inputs] == ["x"]
    assert result.ir_version == 7  # the first that knows opset 13
    assert len(model.graph.inputs) > 1
    assert np.isfinite(Session(result).run({"x": x[:1]})["y"]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("activations", ["static", "dynamic", "auto"])
def test_weights_of_another_type_than_float32_are_named(dtype: type, activations: str) -> None:
    name = ir.DataType.from_numpy(np.dtype(dtype))
    w = RNG.normal(size=(64, 64)).astype(dtype)
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 17]>
    g ({name.name.lower()}[n,64] x) => ({name.name.lower()}[n,64] y) {{ y = MatMul(x, w) }}""")
    value = ir.Value(name="w", const_value=ir.tensor(w, name="w"), shape=ir.Shape(w.shape), type=ir.TensorType(name))
    model.graph.register_initializer(value)
    model.graph.node(0).replace_input_with(1, value)
    data = open_samples({"x": RNG.normal(size=(4, 64)).astype(dtype)}, model)
    with pytest.raises(UnsupportedError, match=f"the layers' weights are {name.name.lower()}") as caught:
        quantize(model, data, QuantizeOptions(activations=activations))
    assert caught.value.hint == "quantise the float32 model that it was made from"


def test_a_placement_without_a_single_int8_layer_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    data = open_samples({"x": images(8)}, model)
    # the cut would leave everything in float, and only whole models are timed
    monkeypatch.setattr(placement, "place", lambda *_: frozenset())
    seen: list[set[str]] = []

    def timed(candidates: dict[str, ir.Model], *_: object) -> tuple[str, dict[str, float]]:
        seen.append(set(candidates))
        return "float", {name: 1.0 if name == "float" else 2.0 for name in candidates}

    monkeypatch.setattr(placement_profiling, "pick_fastest", timed)
    with pytest.raises(UnsupportedError, match="no int8 placement is faster than float"):
        quantize(model, data, replace(OPTIONS, placement="measured"))
    assert seen == [{"float", "everything int8"}]


@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("shared", [False, True])
def test_a_convolution_of_a_fixed_batch_is_mended_by_all_its_samples(batch: int, shared: bool) -> None:
    """With and without an input of first axis 1 beside the batch."""
    model = network(middle="b = Add(a, t)" if shared else "b = Relu(a)")
    model.graph.inputs[0].shape = ir.Shape([batch, 4, 32, 32])
    model.graph.outputs[0].shape = ir.Shape([batch, 16, 32, 32])
    data = {"x": images(4 * batch)}
    if shared:
        t = ir.Value(name="t", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, 16, 1, 1]))
        model.graph.inputs.append(t)
        add = next(node for node in model.graph if node.op_type == "Add")
        add.replace_input_with(1, t)
        data["t"] = RNG.normal(size=(4 * batch, 1, 16, 1, 1)).astype(np.float32)
        if batch == 1:
            data["t"] = data["t"][:, 0]
    result, report = quantize(model, open_samples(data, model), OPTIONS)
    assert report.details["mended"]["errors"]
    feed = {"x": data["x"][:batch]} | ({"t": data["t"].reshape(-1, 1, 16, 1, 1)[0]} if shared else {})
    a, b = Session(model).run(feed)["y"], Session(result).run(feed)["y"]
    assert np.square(a - b).sum() < 0.01 * np.square(a).sum()


@pytest.mark.parametrize("way", ["static", "dynamic", "int8", "int8:qdq", "int4", "codebook:16", "cuda"])
@pytest.mark.parametrize("declared", ["n,7", "n"])
def test_an_output_whose_declared_sizes_are_another_models_is_quantised_like_any_other(declared: str, way: str) -> None:
    model = graph(
        f"g (float[n,64] x) => (float[{declared}] y) {{ h = MatMul(x, u)\n r = Relu(h)\n y = MatMul(r, w) }}",
        **{name: RNG.normal(size=(64, 64)).astype(np.float32) for name in "uw"},
    )
    x = RNG.normal(size=(24, 64)).astype(np.float32)
    options = {
        "static": QuantizeOptions(activations="static", placement="static", min_sqnr=0.0),
        "dynamic": QuantizeOptions(activations="dynamic", placement="static"),
        "cuda": QuantizeOptions(target="cuda"),
    }
    result, _ = quantize(model, open_samples({"x": x}, model), options.get(way) or QuantizeOptions(weights=way))
    assert Session(result, SessionConfig(optimize=True)).run({"x": x[:2]})["y"].shape == (2, 64)


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_a_layer_of_no_columns_stays_in_float_beside_those_that_have_some(target: str) -> None:
    model = graph(
        "g (float[n,64] x) => (float[n,64] y) { a = MatMul(x, u)\n b = MatMul(a, v)\n c = Add(b, x)\n y = MatMul(c, w) }",
        u=np.zeros((64, 0), np.float32),
        v=np.zeros((0, 64), np.float32),
        w=RNG.normal(size=(64, 64)).astype(np.float32),
    )
    x = RNG.normal(size=(24, 64)).astype(np.float32)
    options = QuantizeOptions(activations="static", placement="static", target=target, min_sqnr=0.0)
    result, report = quantize(model, open_samples({"x": x}, model), options)
    assert report.changed["layers in int8"] == 1
    expected, found = (Session(one).run({"x": x[:2]})["y"] for one in (model, result))
    assert np.square(found - expected).sum() < 0.01 * np.square(expected).sum()
