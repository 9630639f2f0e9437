"""Weights in blocks, rows and codebooks: what the codes stand for, what the runtime makes of them, how small they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.step import quantize
from onnxslim.quantization.weight_only.blocks import find_block_weights
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.simplification.step import simplify
from tests.support.encoder import data, encoder, small, sqnr
from tests.support.paths import SAMPLES
from tests.support.quantize_graphs import model as parse
from tests.support.quantize_graphs import options, weight


def list_block_layers(model: ir.Model) -> tuple[str, ...]:
    return tuple(linear.name for weight in find_block_weights(prepare_model(model)[0]) for linear in weight.linear_layers)


@pytest.mark.parametrize(
    ("weights", "ratio", "least"), [("int8", 3.6, 35), ("int4", 5.5, 15), ("int8:qdq", 3.6, 35), ("int4:qdq", 5.5, 15)]
)
@pytest.mark.parametrize("sequence", [16, "sequence"])
def test_linear_layers_read_blocks(weights: str, ratio: float, least: float, sequence: int | str) -> None:
    model = simplify(small(hidden=128, sequence=sequence))[0]
    decided = {"block_layers": list_block_layers(model)} if weights == "int8" else {}
    result, report = quantize(model, None, options(weights, **decided))
    ops = Counter(node.op_type for node in read_optimized_graph(result).graph)
    assert ops["MatMulNBits"] == 12
    assert report.changed[f"linear layers in {weights.split(':')[0]} blocks"] == 12
    standard = weights.endswith(":qdq")
    assert Counter(node.op_type for node in result.graph)["DequantizeLinear"] == 12 * standard
    assert ("com.microsoft" in result.opset_imports) != standard
    assert len(model_file.to_bytes(model)) > ratio * len(model_file.to_bytes(result))
    assert sqnr(model, result, data(model, 4)) > least


def test_the_layers_that_read_blocks_are_recorded_and_repeated_to_the_byte() -> None:
    model = simplify(small(hidden=128))[0]
    measured = QuantizeOptions(weights="int8", placement="measured")
    first, report = quantize(model, data(model, 4), measured)
    again, _ = quantize(model, None, replace(measured, block_layers=report.decision.block_layers))
    assert model_file.to_bytes(first) == model_file.to_bytes(again)
    some = list_block_layers(model)[:3]
    result, _ = quantize(model, None, replace(measured, block_layers=some))
    assert Counter(node.op_type for node in result.graph)["MatMulNBits"] == 3
    assert sqnr(model, result, data(model, 4)) > 35


@pytest.mark.parametrize(
    ("weights", "ratio", "least"),
    [("int8", 3.0, 35), ("codebook:256", 2.5, 38), ("codebook:16", 3.5, 12), ("float16", 1.8, 60)],
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


@pytest.mark.parametrize(
    "weights", ["int8", "int4", "int8:qdq", "int4:qdq", "codebook:4", "codebook:16", "codebook:256", "float16"]
)
def test_fewer_bits_are_not_fewer_parameters_nor_fewer_multiplications(digits: ir.Model, weights: str) -> None:
    for model in (digits, simplify(small(hidden=128))[0]):
        result, _ = quantize(model, None, options(weights))
        before, after = compute_cost(model), compute_cost(result)
        assert after.params == pytest.approx(before.params, rel=0.06)
        assert after.macs == before.macs


@pytest.mark.parametrize("weights", ["int8", "int4", "int8:qdq", "codebook:16", "float16"])
def test_a_model_without_weights_worth_it_is_refused(weights: str) -> None:
    found = parse("g (float[n,4] x) => (float[n,4] y) { y = MatMul (x, w) }", w=weight(4, 4))
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        quantize(found, None, options(weights))
