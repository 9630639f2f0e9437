"""int8 weights that are expanded at load: what reads them, what the runtime makes of it, and what stays float."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.quantization.step import quantize
from onnxslim.quantization.weight_only.expanded import (
    GOOD_SQNR_DB,
    ExpandedWeight,
    quantize_expanded,
    write_expanded_weights,
)
from onnxslim.quantization.weight_only.weights import WeightTensor
from onnxslim.runtime.session import Session
from tests.support.encoder import sqnr
from tests.support.quantize_graphs import kernels, options, restart_draws, weight
from tests.support.quantize_graphs import model as parse


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    restart_draws()


X_IMAGE = np.random.default_rng(4).standard_normal((1, 32, 6, 6)).astype(np.float32)
#: The graph and its constants; ``x`` is float[4,1,32] for recurrent layers.
READERS: dict[str, tuple[str, dict[str, np.ndarray]]] = {
    "MatMul": ("g (float[4,32] x) => (float[4,48] y) { y = MatMul (x, w) }", {"w": weight(32, 48)}),
    "MatMul, batched": ("g (float[3,4,32] x) => (float[3,4,48] y) { y = MatMul (x, w) }", {"w": weight(3, 32, 48)}),
    "MatMul, the weight first": ("g (float[32,4] x) => (float[48,4] y) { y = MatMul (w, x) }", {"w": weight(48, 32)}),
    "Gemm": ("g (float[4,32] x) => (float[4,48] y) { y = Gemm (x, w) }", {"w": weight(32, 48)}),
    "Gemm, transposed": ("g (float[4,32] x) => (float[4,48] y) { y = Gemm <transB=1> (x, w) }", {"w": weight(48, 32)}),
    "Gather": ("g (int64[4] x) => (float[4,16] y) { y = Gather (w, x) }", {"w": weight(64, 16)}),
    "Conv": ("g (float[1,8,6,6] x) => (float[1,16,4,4] y) { y = Conv (x, w) }", {"w": weight(16, 8, 3, 3)}),
    "depthwise Conv": (
        "g (float[1,64,6,6] x) => (float[1,64,4,4] y) { y = Conv <group=64> (x, w) }",
        {"w": weight(64, 1, 3, 3)},
    ),
    "ConvTranspose": (
        "g (float[1,8,4,4] x) => (float[1,16,6,6] y) { y = ConvTranspose (x, w) }",
        {"w": weight(8, 16, 3, 3)},
    ),
    "depthwise ConvTranspose": (
        "g (float[1,64,4,4] x) => (float[1,64,6,6] y) { y = ConvTranspose <group=64> (x, w) }",
        {"w": weight(64, 1, 3, 3)},
    ),
    **{
        op: (
            f"g (float[4,1,32] x) => (float[4,1,1,16] y) {{ y = {op} <hidden_size=16> (x, w, r) }}",
            {"w": weight(1, gates * 16, 32), "r": weight(1, gates * 16, 16)},
        )
        for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))
    },
    "LSTM behind a Transpose, an Unsqueeze and a Concat": (
        """g (float[4,1,32] x) => (float[4,1,1,16] y) {
            wt = Transpose <perm=[1,0]> (wk)
            w = Unsqueeze (wt, zero)
            rt = Concat <axis=0> (ri, rofc)
            r = Unsqueeze (rt, zero)
            y = LSTM <hidden_size=16> (x, w, r)
        }""",
        {"wk": weight(32, 64), "ri": weight(16, 16), "rofc": weight(48, 16), "zero": np.array([0], np.int64)},
    ),
    "a branch": (
        """g (float[4,32] x, bool c) => (float[4,48] y) {
            y = If (c) <
                then_branch = t () => (float[4,48] a) { a = MatMul (x, w) },
                else_branch = e () => (float[4,48] b) { b = MatMul (x, v) }
            >
        }""",
        {"w": weight(32, 48), "v": weight(32, 48)},
    ),
    "two layers": (
        "g (float[4,32] x) => (float[4,32] y) { h = MatMul (x, w) \n t = Tanh (h) \n y = MatMul (t, w) }",
        {"w": weight(32, 32)},
    ),
    "learned positions": (
        "g (float[4,16,32] x) => (float[4,16,32] y) { h = Add (x, p) \n y = MatMul (h, w) }",
        {"p": weight(1, 16, 32), "w": weight(32, 32)},
    ),
}


def build(reader: str) -> ir.Model:
    text, constants = READERS[reader]
    found = parse(text, **constants)
    name_nodes(found.graph.all_nodes())
    return found


def make_feeds(found: ir.Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    feeds = {}
    for value in found.graph.inputs:
        assert value.shape is not None
        shape = [int(size) for size in value.shape]  # type: ignore[arg-type]
        others = {ir.DataType.BOOL: np.array(True), ir.DataType.INT64: np.arange(64)[: shape[0] if shape else 0]}
        assert value.dtype is not None
        feeds[str(value.name)] = others.get(value.dtype, rng.standard_normal(shape).astype(np.float32))
    return feeds


@pytest.mark.parametrize("reader", READERS)
def test_the_loaded_model_runs_the_float_models_kernels_on_nearly_its_weights(reader: str) -> None:
    original = build(reader)
    result = model_file.clone(original)
    report = write_expanded_weights(result)
    assert report.changed["weights in int8, expanded at load"] == len([v for v in READERS[reader][1].values() if v.ndim > 1])
    assert kernels(result) == kernels(original)
    wanted, found = (Session(one).run(make_feeds(original))["y"].astype(np.float64) for one in (original, result))
    assert np.square(wanted - found).sum() < 10 ** (-GOOD_SQNR_DB / 10) * np.square(wanted).sum()


def test_coordinates_behind_the_last_layer_and_masks_stay_float() -> None:
    anchors = np.stack(np.meshgrid(np.arange(40), np.arange(40)), axis=-1).reshape(1, 1600, 2).astype(np.float32)
    mask = np.where(np.tri(40) > 0, weight(40, 40), -1e4).astype(np.float32)
    found = parse(
        """g (float[1,1600,32] x, float[40,40] s) => (float[1,1600,2] y, float[40,8] z) {
            h = MatMul (x, w)
            y = Add (h, anchors)
            a = Add (s, mask)
            b = Softmax (a)
            z = MatMul (b, v)
        }""",
        w=weight(32, 2), anchors=anchors, mask=mask, v=weight(40, 8),
    )  # fmt: skip
    result = model_file.clone(found)
    report = write_expanded_weights(result)
    assert {"anchors", "mask"} <= set(result.graph.initializers)
    assert {entry.node for entry in report.skipped} == {"anchors", "mask"}


def as_weight(array: np.ndarray, *scale_axes: int) -> WeightTensor:
    tensor = ir.tensor(array, name="w")
    value = ir.Value(name="w", const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    return WeightTensor(value, array, scale_axes)


def dequantize(found: ExpandedWeight, array: np.ndarray) -> np.ndarray:
    return (found.codes * math.prod(found.scales)).reshape(array.shape)


def squared_error_by_output(array: np.ndarray) -> np.ndarray:
    """Of each weight, with a scale for each output, the first axis."""
    flat = array.reshape(len(array), -1)
    scales = np.abs(flat).max(axis=1, keepdims=True) / 127
    found: np.ndarray = np.square(np.rint(flat / scales) * scales - flat).reshape(array.shape)
    return found


@pytest.mark.parametrize("shape", [(64, 255), (32, 64, 3, 3)])
def test_inputs_have_scales_where_the_weights_of_one_are_far_larger(shape: tuple[int, ...]) -> None:
    array = weight(*shape)
    assert [scales.size for scales in quantize_expanded(as_weight(array, 0)).scales] == [shape[0]]
    array[:, 3] *= 40
    found = quantize_expanded(as_weight(array, 0))
    assert [scales.size for scales in found.scales] == [shape[0], shape[1]]
    error, plain_error = np.square(dequantize(found, array) - array), squared_error_by_output(array)
    others = np.arange(shape[1]) != 3
    assert error[:, others].sum() < plain_error[:, others].sum() / 30
    if len(shape) == 2:
        original = parse("g (float[4,255] x) => (float[4,64] y) { y = Gemm <transB=1> (x, w) }", w=array)
        result = model_file.clone(original)
        write_expanded_weights(result)
        assert kernels(result) == kernels(original)


def test_scales_go_along_blocks_where_single_weights_are_far_larger_than_their_output() -> None:
    array = weight(64, 256)
    array[np.arange(64), np.random.default_rng(0).integers(0, 256, 64)] *= 200
    found = quantize_expanded(as_weight(array, 0))
    assert found.codes.shape[:2] == (64, 256 // found.codes.shape[-1])
    assert np.square(dequantize(found, array) - array).sum() < squared_error_by_output(array).sum() / 2


def test_weights_that_are_as_good_as_zero_have_no_say() -> None:
    array = weight(32, 64)
    array[:, :48] = 1e-38
    array[5] = 1e-30
    assert quantize_expanded(as_weight(array, 0)).sqnr_db > GOOD_SQNR_DB


def test_a_weight_that_no_scales_fit_stays_float() -> None:
    array = weight(32, 48)
    array[::8] *= 3000  # in every output, in every block of them, and in every input
    array[:, ::8] *= 3000
    found = parse("g (float[4,32] x) => (float[4,48] y) { y = MatMul (x, w) }", w=array)
    result = model_file.clone(found)
    report = write_expanded_weights(result)
    assert not report.changed
    assert [entry.node for entry in report.skipped if "dB in int8" in entry.reason] == ["w"]
    assert "w" in result.graph.initializers


def test_weights_that_save_next_to_nothing_stay_float() -> None:
    text = "g (float[4,32] x) => (float[4,256] y) { h = MatMul (x, u) \n t = Tanh (h) \n y = MatMul (t, w) }"
    found = parse(text, u=weight(32, 256), w=weight(256, 256))
    assert write_expanded_weights(model_file.clone(found)).changed["weights in int8, expanded at load"] == 2
    found = parse(text, u=weight(32, 1024), w=weight(1024, 4096))
    result = model_file.clone(found)
    report = write_expanded_weights(result)
    assert [(entry.node, entry.reason) for entry in report.skipped] == [("u", "it would save next to nothing of the file")]
    assert "u" in result.graph.initializers


def test_names_and_scales_of_many_small_layers_leave_the_file_a_third_smaller() -> None:
    layers = 12
    text = "\n".join(
        f"a_name_that_a_framework_gave_layer_{i} = MatMul ({'x' if i == 0 else f'r{i - 1}'}, a_long_name_of_a_weight_{i})\n"
        f" r{i} = Tanh (a_name_that_a_framework_gave_layer_{i})"
        for i in range(layers)
    )
    constants = {f"a_long_name_of_a_weight_{i}": weight(16, 16) for i in range(layers)}
    found = parse(f"g (float[n,16] x) => (float[n,16] y) {{ {text}\n y = Identity (r{layers - 1}) }}", **constants)
    result, _ = quantize(found, None, options("int8"))
    assert len(model_file.to_bytes(result)) < 0.66 * len(model_file.to_bytes(found))
    samples = open_samples({"x": np.random.default_rng(0).standard_normal((8, 16)).astype(np.float32)}, found)
    assert sqnr(found, result, samples) > 25


@pytest.mark.parametrize("dead", ["outputs", "inputs", "both"])
def test_weights_that_decayed_to_nothing_do_not_keep_the_others_in_float(dead: str) -> None:
    array = weight(64, 32, 3, 3)
    outputs, inputs = np.arange(64) < (48 if dead != "inputs" else 0), np.arange(32) < (24 if dead != "outputs" else 0)
    array[outputs] *= np.float32(1e-30)
    array[:, inputs] *= np.float32(1e-30)
    made = parse("g (float[1,32,6,6] x) => (float[1,64,4,4] y) { y = Conv (x, w) }", w=array)
    before = Session(made).run({"x": X_IMAGE})["y"].astype(np.float64)
    report = write_expanded_weights(made)
    assert report.changed == {"weights in int8, expanded at load": 1}
    error = np.square(Session(made).run({"x": X_IMAGE})["y"] - before).sum() / np.square(before).sum()
    assert -10 * np.log10(error) > GOOD_SQNR_DB
