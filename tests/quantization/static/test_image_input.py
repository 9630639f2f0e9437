"""Inputs that hold pixels: told from others, and quantised without a loss."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.data.sources import open_samples
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.static import image_input
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
OPTIONS = QuantizeOptions(activations="static", float_units=())


def network(pads: str = "[1,1,1,1]") -> ir.Model:
    rng = np.random.default_rng(0)
    weights = {"w": (16, 3, 3, 3), "v": (16, 16, 3, 3)}
    arrays = {name: (rng.standard_normal(shape) / 8).astype(np.float32) for name, shape in weights.items()}
    return model(
        f"""g (float[n,3,h,w] x) => (float[n,16,p,q] y) {{
          a = Conv<pads = {pads}, strides = [2,2]>(x, w, b)
          r = Relu(a)
          y = Conv<pads = [1,1,1,1]>(r, v)
        }}""",
        b=rng.standard_normal(16).astype(np.float32), **arrays,
    )  # fmt: skip


def photos(count: int = 16, size: int = 24, seed: int = 1) -> np.ndarray:
    """Blobs of 8-bit pixels, normalised as PyTorch does it."""
    rng = np.random.default_rng(seed)
    levels = np.clip(rng.normal(120, 60, (count, 3, size, size)), 0, 255).astype(np.uint8)
    return ((levels / np.float32(255) - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(-1e2, 1e2), st.integers(0, 200), st.integers(20, 55))
def test_a_grid_is_found_again_whatever_part_of_it_was_seen(step: float, shift: float, low: int, count: int) -> None:
    level = np.unique(np.random.default_rng(low).integers(low, low + count, 500))
    values = (step * (level + shift)).astype(np.float32)
    found = image_input.fit_grid(np.repeat(values, 3))
    assert found is not None
    assert found[0] == pytest.approx(step, rel=1e-3)
    place = (values - found[1]) / found[0]
    assert np.abs(place - np.rint(place)).max() < 0.05
    assert np.rint(place).min() >= 0
    assert np.rint(place).max() <= 255


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).standard_normal(1000),
        np.zeros(1000),
        np.arange(1000),
        np.geomspace(1, 2, 200),
    ],
)
def test_what_lies_on_no_grid_of_256_levels_is_no_picture(values: np.ndarray) -> None:
    assert image_input.fit_grid(values.astype(np.float32)) is None


@pytest.mark.parametrize("pads", ["[1,1,1,1]", "[0,0,0,0]", "[0,1,2,1]"])
def test_the_layer_that_reads_levels_computes_what_it_did(pads: str) -> None:
    found, x = network(pads), photos(4)
    for index, node in enumerate(found.graph):
        node.name = f"n{index}"
    seen = image_input.find_image_input(found, [{"x": one[None]} for one in x], {"n0", "n2"})
    assert seen is not None
    np.testing.assert_allclose(seen.step, 1 / (255 * STD), rtol=1e-4)
    spread = image_input.insert_level_ops(found, seen)
    wanted, got = (Session(one).run({"x": x})["y"] for one in (found, spread))
    np.testing.assert_allclose(got, wanted, atol=2e-5 * np.abs(wanted).max())


def test_pixels_that_were_only_scaled_need_no_padding_of_their_own() -> None:
    found = network()
    x = (np.random.default_rng(4).integers(0, 256, (8, 3, 24, 24)) / np.float32(255)).astype(np.float32)
    for index, node in enumerate(found.graph):
        node.name = f"n{index}"
    seen = image_input.find_image_input(found, [{"x": one[None]} for one in x], {"n0"})
    assert seen is not None
    spread = image_input.insert_level_ops(found, seen)
    assert "Pad" not in [node.op_type for node in spread.graph]
    wanted, got = (Session(one).run({"x": x})["y"] for one in (found, spread))
    np.testing.assert_allclose(got, wanted, atol=2e-5 * np.abs(wanted).max())


def test_pixels_lose_nothing_on_the_way_in_and_other_inputs_are_left_alone() -> None:
    found, x = network(), photos(32)
    errors = {}
    for name, data in (("pixels", x), ("others", x + np.random.default_rng(2).normal(0, 1e-3, x.shape).astype(np.float32))):
        result, report = quantize(found, open_samples({"x": data}, found), OPTIONS)
        assert ("input quantised on its own 256 levels" in report.changed) == (name == "pixels")
        held = photos(8, seed=5)
        wanted, got = (Session(one).run({"x": held})["y"] for one in (found, result))
        errors[name] = float(np.square(wanted - got).sum() / np.square(wanted).sum())
        ops = [node.op_type for node in read_optimized_graph(result).graph]
        assert ops.count("QLinearConv") == 2
        assert "Mul" not in ops
    assert errors["pixels"] < errors["others"]


def test_the_codes_of_the_input_are_the_pixels() -> None:
    found = network()
    levels = np.random.default_rng(3).integers(0, 256, (16, 3, 24, 24))
    x = ((levels / np.float32(255) - MEAN[:, None, None]) / STD[:, None, None]).astype(np.float32)
    result, _ = quantize(found, open_samples({"x": x}, found), OPTIONS)
    first = next(node for node in result.graph if node.op_type == "QuantizeLinear" and node.inputs[1].shape.rank() == 1)
    result.graph.outputs.append(first.outputs[0])
    first.outputs[0].dtype = ir.DataType.UINT8
    codes = Session(result).run({"x": x[:1]})[str(first.outputs[0].name)]
    np.testing.assert_array_equal(codes[0, :, 1:-1, 1:-1], levels[0])
