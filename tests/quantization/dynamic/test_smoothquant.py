"""Outliers move into the weights exactly, and only where that pays."""

from __future__ import annotations

from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.quantization.dynamic.rewrite import write_dynamic
from onnxslim.quantization.linear_layers import find_weight_matrices
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from tests.support.encoder import data, small, sqnr

STATIC = QuantizeOptions(placement="static")


def test_outliers_move_into_the_weights_and_the_answers_get_closer() -> None:
    model = small(outliers=40.0)
    samples = data(model)
    result, report = quantize(model, samples, STATIC)
    plain = model_file.clone(model)
    name_nodes(plain.graph.all_nodes())
    write_dynamic(plain, find_weight_matrices(plain)[0])
    assert report.changed["smoothed activations"] >= 4
    assert all(one["folded"] for one in report.details["smooth"] if one["tensor"].endswith("norm_out"))
    assert sqnr(model, result, samples) > sqnr(model, plain, samples) + 3
    assert report.changed["layers in int8"] == 12


def test_without_outliers_nothing_is_smoothed_that_does_not_pay() -> None:
    model = small()
    _, report = quantize(model, data(model), STATIC)
    assert report.changed.get("smoothed activations", 0) <= 2
