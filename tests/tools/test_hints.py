"""Every form that costs something is found where it is, and nowhere else."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.conformance.costly_forms import COSTLY_FORMS
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.tools.hints import FORMS, find_hints
from tests.support.paths import SAMPLES


def find(model: ir.Model) -> dict[str, str]:
    return {hint.form: hint.example for hint in find_hints(model)}


@pytest.mark.parametrize("form", COSTLY_FORMS)
def test_what_doctor_times_is_what_is_warned_of_and_not_in_the_better_form(form: str) -> None:
    _, costly, better = COSTLY_FORMS[form]()
    assert form in FORMS
    assert form in find(costly)
    assert form not in find(better)


def test_a_depthwise_layer_wants_a_scale_for_each_channel() -> None:
    for axis, warned in ((None, True), (0, False)):
        toy = ToyModel(1, 32, 8, 8)
        model = toy.build(toy("Conv", toy.qdq(toy.x), toy.weights(32, 1, 3, 3, axis=axis), group=32))
        assert ("depthwise weights with one scale" in find(model)) == warned


def test_a_float_op_between_int8_is_an_island_and_one_at_the_end_is_none() -> None:
    toy = ToyModel(1, 16, 8, 8)
    island = toy.build(toy.conv(toy.qdq(toy("Erf", toy.qdq(toy.x)))))
    assert "float between int8" in find(island)
    toy = ToyModel(1, 16, 8, 8)
    end = toy.build(toy("Erf", toy.conv(toy.qdq(toy.x))))
    assert "float between int8" not in find(end)


@pytest.mark.parametrize("transposed", [False, True])
def test_tied_weights_are_told_transposed_or_not_and_others_are_not(transposed: bool) -> None:
    values = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    for second, warned in ((values.T if transposed else values, True), (values + 1, False)):
        toy = ToyModel(4, 64)
        model = toy.build(toy("MatMul", toy("MatMul", toy.x, toy.constant(values)), toy.constant(second)))
        assert ("weights stored twice" in find(model)) == warned


def test_weights_among_the_inputs_are_told() -> None:
    toy = ToyModel(4, 64)
    model = toy.build(toy("MatMul", toy.x, toy.random(64, 64)))
    assert find(model) == {}
    model.graph.inputs.append(next(iter(model.graph.initializers.values())))
    assert "weights among the inputs" in find(model)


def test_a_hint_says_what_it_costs_here_or_that_nobody_knows() -> None:
    _, costly, _ = COSTLY_FORMS["ConvInteger"]()
    unknown = next(hint for hint in find_hints(costly) if hint.form == "ConvInteger")
    assert str(unknown).endswith("not measured here")
    known = next(hint for hint in find_hints(costly, {"ConvInteger": 1.5}) if hint.form == "ConvInteger")
    assert str(known).endswith("1.50 times as long here")
    assert unknown.count == 1
    free = next(hint for hint in find_hints(costly, {"ConvInteger": 0.98}) if hint.form == "ConvInteger")
    assert str(free).endswith("it costs no time here")


def test_layers_whose_products_can_saturate_are_named_and_narrower_weights_are_not() -> None:
    for code, warned in ((127, True), (64, False)):
        toy = ToyModel(4, 8)
        weights = toy.dequantize(toy.constant(np.full((8, 8), code), np.int8), 0.01, 0, np.int8)
        model = toy.build(toy.qdq(toy("MatMul", toy.qdq(toy.x), weights)))
        assert ("products that can saturate" in find(model)) == warned


def test_a_plain_network_has_none() -> None:
    assert find(model_file.load(SAMPLES / "digits_cnn.onnx")) == {}
