"""Weights rounded for the data: less error on samples that nothing was fitted to, and nothing else changed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.errors import UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph.constants import get_const_array
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.step import quantize
from onnxslim.quantization.weight_only.correction import MIN_TOTAL
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import model as parse
from tests.support.quantize_graphs import options

CHANNELS, BLOCKS = 24, 4
INT8 = options("int8", float_units=())


def make_separable(opset: int = 17) -> ir.Model:
    """Depthwise and pointwise convolutions by turns, a SiLU behind each, and a linear head."""
    rng = np.random.default_rng(0)
    lines, weights, last = [], {}, "x"
    for index in range(2 * BLOCKS):
        is_depthwise = index % 2 == 0
        shape = (CHANNELS, 1, 3, 3) if is_depthwise else (CHANNELS, CHANNELS, 1, 1)
        attributes = f"group = {CHANNELS}, pads = [1, 1, 1, 1]" if is_depthwise else "group = 1"
        weights[f"w{index}"] = (rng.standard_normal(shape) * np.sqrt(3.0 / np.prod(shape[1:]))).astype(np.float32)
        weights[f"b{index}"] = (0.3 * rng.standard_normal(CHANNELS)).astype(np.float32)
        lines.append(f"c{index} = Conv <{attributes}> ({last}, w{index}, b{index})")
        lines += [f"s{index} = Sigmoid (c{index})", f"y{index} = Mul (c{index}, s{index})"]
        last = f"y{index}"
    weights["w_head"] = rng.standard_normal((CHANNELS, 16)).astype(np.float32)
    weights["b_head"] = np.zeros(16, np.float32)
    lines += [f"p = GlobalAveragePool ({last})", "f = Flatten (p)", "y = Gemm (f, w_head, b_head)"]
    found = parse(f"g (float[1,{CHANNELS},12,12] x) => (float[1,16] y) {{ {chr(10).join(lines)} }}", **weights)
    found.opset_imports[""] = opset
    return found


def draw_images(model: ir.Model, count: int, seed: int = 0) -> Samples:
    noise = np.random.default_rng(seed).standard_normal((count, CHANNELS, 12, 12))
    images = noise + np.linspace(0, 2, CHANNELS)[:, None, None]
    return open_samples({"x": images.astype(np.float32)}, model)


def measure_error(model: ir.Model, result: ir.Model) -> float:
    feeds = CalibrationFeeds(draw_images(model, 16, seed=1))
    return ReferenceOutputs(model, feeds, SessionConfig()).error(result)


@pytest.mark.parametrize("opset", [11, 17])
def test_with_data_the_outputs_of_unseen_samples_lose_less_and_the_file_stays_as_small(opset: int) -> None:
    model = make_separable(opset)
    nearest, plain = quantize(model, None, INT8)
    rounded, report = quantize(model, draw_images(model, 32), INT8)
    assert measure_error(model, rounded) < 0.5 * measure_error(model, nearest)
    assert [node.op_type for node in rounded.graph] == [node.op_type for node in nearest.graph]
    assert len(model_file.to_bytes(rounded)) < 1.01 * len(model_file.to_bytes(nearest))
    assert plain.decision.corrected_layers == 0
    assert report.decision.corrected_layers == 2 * BLOCKS + 1 == report.changed["layers rounded for the data"]
    errors = report.details["rounding"]["errors"]
    assert errors["for the data"] < errors["to nearest"]


def test_what_was_decided_is_repeated_to_the_byte() -> None:
    model = make_separable()
    data = draw_images(model, 32)
    for given in (None, 0, 3):
        first, report = quantize(model, data, options("int8", float_units=(), corrected_layers=given))
        decided = options("int8", float_units=(), corrected_layers=report.decision.corrected_layers, block_layers=())
        assert report.decision.corrected_layers == (2 * BLOCKS + 1 if given is None else given)
        assert model_file.to_bytes(quantize(model, data, decided)[0]) == model_file.to_bytes(first)


def test_without_the_data_it_was_rounded_for_nothing_is_repeated() -> None:
    with pytest.raises(UsageError, match="needs data"):
        quantize(make_separable(), None, options("int8", float_units=(), corrected_layers=3))


def test_few_samples_say_nothing_and_change_nothing() -> None:
    model = make_separable()
    few, report = quantize(model, draw_images(model, MIN_TOTAL - 1), INT8)
    assert model_file.to_bytes(few) == model_file.to_bytes(quantize(model, None, INT8)[0])
    assert any("samples" in entry.reason for entry in report.skipped)


def test_a_layer_that_stays_in_float_keeps_its_weights_and_its_bias() -> None:
    model = make_separable()
    nodes = [node.name or "" for node in quantize(model, None, INT8)[0].graph if node.op_type == "Conv"]
    result, _ = quantize(model, draw_images(model, 32), options("int8", float_units=(nodes[3],), float_weights="float32"))
    layer = next(node for node in result.graph if node.name == nodes[3])
    for position, name in ((1, "w3"), (2, "b3")):
        kept = get_const_array(layer.inputs[position])
        assert kept is not None
        np.testing.assert_array_equal(kept, model.graph.initializers[name].const_value.numpy())  # type: ignore[union-attr]
    assert Counter(node.op_type for node in result.graph)["Cast"] == 2 * BLOCKS


def test_layers_behind_one_with_other_scales_make_up_for_what_that_loses() -> None:
    model = make_separable()
    spoilt = model.graph.initializers["w1"]
    array = spoilt.const_value.numpy().copy()  # type: ignore[union-attr]
    array[:, 5] *= 40.0
    spoilt.const_value = ir.tensor(array, name="w1")
    nearest, _ = quantize(model, None, INT8)
    rounded, report = quantize(model, draw_images(model, 32), INT8)
    assert report.decision.corrected_layers == 2 * BLOCKS
    assert measure_error(model, rounded) < 0.7 * measure_error(model, nearest)
