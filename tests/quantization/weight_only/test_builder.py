"""Weights in int8 as far as the outputs bear it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.errors import GateError, UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import SessionConfig
from tests.support.judges import judge_by
from tests.support.quantize_graphs import model

INT8 = QuantizeOptions(weights="int8", placement="static")


def branches() -> ir.Model:
    """Six layers in parallel of which each is heard eight times less than the one before."""
    rng = np.random.default_rng(0)
    weights = {f"w{i}": (rng.standard_normal((48, 48)) / 8).astype(np.float32) for i in range(6)}
    lines = [f"a{i} = MatMul(x, w{i})\n b{i} = Mul(a{i}, k{i})" for i in range(6)]
    gains = {f"k{i}": np.float32([8.0**-i]) for i in range(6)}
    found = model(
        f"g (float[n,48] x) => (float[n,48] y) {{ {' '.join(lines)} y = Sum(b0, b1, b2, b3, b4, b5) }}".replace(
            " b0 =", "\n b0 ="
        ),
        **weights,
        **gains,
    )
    for node in found.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    return found


def test_the_weight_that_costs_most_for_its_bytes_goes_back_and_the_decision_replays() -> None:
    found = branches()
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((16, 48)).astype(np.float32)}, found)
    yardstick = ReferenceOutputs(found, CalibrationFeeds(samples), SessionConfig())
    everything = yardstick.error(quantize(found, samples, INT8)[0])
    result, report = quantize(
        found, samples, INT8, drop_over_limit=judge_by(lambda candidate: yardstick.error(candidate) / (0.2 * everything))
    )
    decision = report.decision
    assert decision.float_units == ("MatMul_a0",)
    assert decision.front_index > 0
    assert yardstick.error(result) < 0.2 * everything
    replayed, _ = quantize(
        found,
        None,
        QuantizeOptions(
            weights="int8", placement="static", float_units=decision.float_units, block_layers=decision.block_layers
        ),
    )
    assert model_file.to_bytes(replayed) == model_file.to_bytes(result)


def test_as_few_weights_go_back_as_will_do_though_none_of_them_takes_time() -> None:
    found = branches()
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((16, 48)).astype(np.float32)}, found)
    yardstick = ReferenceOutputs(found, CalibrationFeeds(samples), SessionConfig())
    everything = yardstick.error(quantize(found, samples, INT8)[0])
    built: list[float] = []

    def excess(candidate: ir.Model) -> float:
        built.append(yardstick.error(candidate) / everything)
        # steeper than the losses say, so that the first guess is far too mild
        return 0.9 if built[-1] < 0.03 else 1e3 * built[-1]

    _, report = quantize(found, samples, INT8, drop_over_limit=judge_by(excess))
    assert report.decision.float_units == ("MatMul_a0",)
    assert len(built) <= 7


def test_all_weights_are_int8_where_the_drop_is_small_or_nobody_judges() -> None:
    found = branches()
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((16, 48)).astype(np.float32)}, found)
    plain, plain_report = quantize(found, samples, INT8)
    judged, report = quantize(found, samples, INT8, drop_over_limit=judge_by(lambda candidate: 0.1))
    assert model_file.to_bytes(judged) == model_file.to_bytes(plain)
    assert report.decision.front == ()
    assert plain_report.decision.float_units is None
    floor = QuantizeOptions(weights="int8", placement="static", min_sqnr=170.0)
    with pytest.raises(GateError, match="170 are asked for"):
        quantize(found, samples, floor)


def test_where_no_weight_may_be_int8_all_are_half_floats_and_the_decision_replays() -> None:
    found = branches()
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((16, 48)).astype(np.float32)}, found)

    def excess(candidate: ir.Model) -> float:
        kinds = {value.const_value.dtype for value in candidate.graph.initializers.values() if value.const_value is not None}
        return 3.0 * (ir.DataType.INT8 in kinds)

    result, report = quantize(found, samples, INT8, drop_over_limit=judge_by(excess))
    assert report.changed["constants in half floats"] == 6
    assert len(report.decision.float_units) == 6
    assert len(model_file.to_bytes(result)) < 0.6 * len(model_file.to_bytes(found))
    again, _ = quantize(found, samples, replace(INT8, float_units=report.decision.float_units, corrected_layers=0))
    assert model_file.to_bytes(again) == model_file.to_bytes(result)
    floats = replace(INT8, float_weights="float32")
    _, report = quantize(found, samples, floats, drop_over_limit=judge_by(excess))
    assert "the drop stays too large" in " ".join(report.warnings)


@pytest.mark.parametrize("excess", [0.0, 0.5, 2.0])
def test_a_model_without_weights_is_refused_however_it_is_judged(excess: float) -> None:
    """Trees, a Scaler, a graph of elementwise ops: there is no placement to choose among."""
    found = model("g (float[n,4] x) => (float[n,4] y) { y = Add(x, c) }", c=np.float32([1, 2, 3, 4]))
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32)}, found)
    excesses = iter([excess, 0.0, excess, excess])
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        quantize(found, samples, INT8, drop_over_limit=judge_by(lambda candidate: next(excesses)))
