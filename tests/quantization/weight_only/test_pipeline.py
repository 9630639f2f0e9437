"""Weights in blocks, rows and codebooks: what the codes stand for, what the runtime makes of them, how small they are."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.quantization.numerics import blockwise, kmeans
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.quantization.weight_only import codebook
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.simplification.step import simplify
from tests.support.encoder import data, encoder, small, sqnr, tied
from tests.support.paths import SAMPLES


def options(weights: str, **changes: object) -> QuantizeOptions:
    return QuantizeOptions(weights=weights, placement="static", **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def digits() -> ir.Model:
    return simplify(SAMPLES / "digits_cnn.onnx")[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 300), st.sampled_from([4, 8]), st.integers(0, 2**31))
def test_a_block_is_off_by_half_a_step_at_most_where_its_range_was_not_cut(n: int, k: int, bits: int, seed: int) -> None:
    weight = np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32)
    found = blockwise.quantize_blockwise(weight, bits)
    assert found.codes.shape == (n, -(-k // found.block_size), found.block_size * bits // 8)
    error = np.abs(found.dequantize() - weight)
    steps = np.repeat(np.abs(found.scales), found.block_size, axis=1)[:, :k]
    inside = np.abs(weight) <= steps * (2 ** (bits - 1) - 1)
    assert np.all(error[inside] <= 0.5001 * steps[inside])


def test_cutting_a_range_of_4_bits_lowers_the_error() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
    found = blockwise.quantize_blockwise(weight, 4)
    groups = weight.reshape(64, -1, 32)
    largest = np.take_along_axis(groups, np.abs(groups).argmax(axis=2, keepdims=True), axis=2)
    plain = np.clip(np.rint(groups / (-largest / 8)), -8, 7) * (-largest / 8)
    assert np.square(found.dequantize() - weight).sum() < 0.95 * np.square(plain - groups).sum()


def test_packing_two_codes_a_byte_can_be_undone() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (3, 5, 8)).astype(np.uint8)
    np.testing.assert_array_equal(blockwise.unpack(blockwise.pack(codes)), codes)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(1, 500), st.integers(0, 2**31))
def test_a_codebook_is_a_fixed_point_of_lloyds_algorithm(k: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).standard_normal(count).astype(np.float32)
    found = kmeans.find_centers(values, k)
    assert len(found) <= k
    indices = kmeans.assign_nearest(values, found)
    np.testing.assert_array_equal(indices, np.abs(values[:, None] - found.astype(np.float64)).argmin(axis=1))
    if len(np.unique(values)) <= k:
        np.testing.assert_array_equal(found[indices], values)
    elif count < 300:
        means = [values[indices == i].mean() for i in range(len(found)) if (indices == i).any()]
        np.testing.assert_allclose(means, found[np.unique(indices)], atol=0.02)


def test_a_codebook_is_no_worse_than_levels_at_equal_distances() -> None:
    values = np.random.default_rng(0).standard_normal(20_000)
    levels = np.linspace(values.min(), values.max(), 16)
    error = [
        np.square(c[kmeans.assign_nearest(values, c)] - values).sum() for c in (kmeans.find_centers(values, 16), levels)
    ]
    assert error[0] < 0.6 * error[1]


@pytest.mark.parametrize("k", [2, 4, 16, 200])
def test_what_a_byte_stands_for_is_what_was_packed_into_it(k: int) -> None:
    table = np.arange(k, dtype=np.float32)
    indices = np.random.default_rng(0).integers(0, k, 101)
    looked_up = codebook.build_lookup_table(table, k)[codebook.pack_indices(indices, k)].reshape(-1)[:101]
    np.testing.assert_array_equal(looked_up, indices)


@pytest.mark.parametrize(
    ("weights", "ratio", "least"), [("int8", 3.6, 35), ("int4", 5.5, 15), ("int8:qdq", 3.6, 35), ("int4:qdq", 5.5, 15)]
)
@pytest.mark.parametrize("sequence", [16, "sequence"])
def test_linear_layers_read_blocks(weights: str, ratio: float, least: float, sequence: int | str) -> None:
    model = simplify(small(hidden=128, sequence=sequence))[0]
    result, account = quantize(model, None, options(weights))
    ops = Counter(node.op_type for node in read_optimized_graph(result).graph)
    assert ops["MatMulNBits"] == 12
    assert account.changed[f"linear layers in {weights.split(':')[0]} blocks"] == 12
    standard = weights.endswith(":qdq")
    assert Counter(node.op_type for node in result.graph)["DequantizeLinear"] == 12 * standard
    assert ("com.microsoft" in result.opset_imports) != standard
    assert len(model_file.to_bytes(model)) > ratio * len(model_file.to_bytes(result))
    assert sqnr(model, result, data(model, 4)) > least


@pytest.mark.parametrize(
    ("weights", "ratio", "least"), [("int8", 2.8, 35), ("codebook:256", 2.5, 38), ("codebook:16", 3.5, 12)]
)
def test_convolutions_are_expanded_at_load_and_then_are_what_they_were(
    digits: ir.Model, weights: str, ratio: float, least: float
) -> None:
    result, _ = quantize(digits, None, options(weights))
    assert Counter(n.op_type for n in read_optimized_graph(result).graph) == Counter(
        n.op_type for n in read_optimized_graph(digits).graph
    )
    assert len(model_file.to_bytes(digits)) > ratio * len(model_file.to_bytes(result))
    samples = open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=16)
    output = digits.graph.outputs[0].name
    named = [model_file.clone(m) for m in (digits, result)]
    for model in named:
        model.graph.outputs[0].name = "y"
    assert output != "y"
    assert sqnr(*named, samples) > least


@pytest.mark.parametrize(("weights", "ratio", "least"), [("int8:qdq", 3.4, 35), ("int4:qdq", 4.5, 15)])
def test_convolutions_are_dequantised_by_the_standards_op_and_that_is_said(
    digits: ir.Model, weights: str, ratio: float, least: float
) -> None:
    result, account = quantize(digits, None, options(weights))
    assert (result.opset_imports[""] or 0) >= 21
    assert len(model_file.to_bytes(digits)) > ratio * len(model_file.to_bytes(result))
    read = {node.op_type for one in result.graph if one.op_type == "DequantizeLinear" for node, _ in one.outputs[0].uses()}
    assert "Conv" in read
    blocked = [node for node in result.graph if "block_size" in node.attributes]
    assert bool(blocked) == weights.startswith("int4")
    assert any("at every inference" in line for line in account.warnings)
    named = [model_file.clone(m) for m in (digits, result)]
    for model in named:
        model.graph.outputs[0].name = "y"
    assert sqnr(*named, open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=16)) > least


def test_tensorrt_gets_the_standards_form_unasked() -> None:
    result, account = quantize(small(), None, options("int4", target="tensorrt"))
    ops = Counter(node.op_type for node in result.graph)
    assert (ops["DequantizeLinear"], ops["MatMulNBits"]) == (12, 0)
    assert "TensorRT does not know onnxruntime's own ops" in [declined.reason for declined in account.declined]


def test_a_codebook_says_that_it_is_for_the_download_only(digits: ir.Model) -> None:
    _, account = quantize(digits, None, options("codebook:16"))
    assert any("speed is that of float" in line for line in account.warnings)


@pytest.mark.parametrize("weights", ["int8", "int4", "codebook:16", "int4:qdq"])
def test_a_table_tied_to_the_output_layer_is_stored_once(weights: str) -> None:
    model = tied("Transpose")
    result, _ = quantize(model, None, options(weights))
    assert len(model_file.to_bytes(model)) > 2.5 * len(model_file.to_bytes(result))
    samples = open_samples({"ids": np.arange(40) % 500}, model)
    assert sqnr(model, result, samples) > (12 if weights == "codebook:16" else 35)


def test_tables_alone_keep_rows_and_convert_only_what_is_looked_up() -> None:
    model = small(vocabulary=500)
    result, account = quantize(model, None, options("int4"))
    assert account.changed["embedding tables in int8"] == 1
    assert any(node.op_type == "Gather" and node.inputs[0].dtype == ir.DataType.INT8 for node in result.graph)  # type: ignore[union-attr]


def test_an_excluded_layer_keeps_its_weights() -> None:
    model = small()
    result, account = quantize(model, None, options("int8", exclude=(r"layer0\.mlp\.up",)))
    assert "layer0.mlp.up.weight" in result.graph.initializers
    assert ("layer0.mlp.up.weight", "it was excluded") in [(d.node, d.reason) for d in account.declined]


@pytest.mark.parametrize("weights", ["int8", "int4", "codebook:16", "codebook:256", "int8:qdq", "int4:qdq"])
def test_what_was_stored_in_fewer_bits_is_recognised_and_left(weights: str) -> None:
    result, _ = quantize(small(), None, options(weights))
    with pytest.raises(UnsupportedError, match="quantised already: weight-only"):
        quantize(result, None, options("int8"))


@pytest.mark.parametrize(
    ("weights", "message"), [("int3", "unknown"), ("codebook:1", "from 2 to 256"), ("codebook:x", "from 2")]
)
def test_what_is_no_form_of_weights_is_a_usage_error(weights: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        quantize(small(), None, options(weights))


def test_without_data_int8_activations_are_a_usage_error_with_the_ways_to_give_some() -> None:
    with pytest.raises(UsageError, match="needs data") as caught:
        quantize(encoder(layers=1, hidden=32, heads=2, sequence=4), None, QuantizeOptions())
    assert caught.value.hint is not None
    assert "--data" in caught.value.hint


@pytest.mark.parametrize("weights", ["int8", "int4", "int8:qdq", "int4:qdq", "codebook:4", "codebook:16", "codebook:256"])
def test_fewer_bits_are_not_fewer_parameters_nor_fewer_multiplications(digits: ir.Model, weights: str) -> None:
    for model in (digits, simplify(small(hidden=128))[0]):
        result, _ = quantize(model, None, options(weights))
        before, after = compute_cost(model), compute_cost(result)
        assert after.params == pytest.approx(before.params, rel=0.06)
        assert after.macs == before.macs
