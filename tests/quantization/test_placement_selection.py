"""Which placement is written: the fastest that drops little enough, along a front that a recipe can step down."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.errors import UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pipeline.judging import EvaluationOptions
from onnxslim.pipeline.recipe import Recipe, make_step, parse
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.context import DropOverLimit
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import SessionConfig
from onnxslim.validation.gates import Gates
from tests.support.encoder import data, small
from tests.support.judges import judge_by
from tests.support.quantize_graphs import chain, model

CONFIG = SessionConfig()


def options(way: str, **changes: object) -> QuantizeOptions:
    return QuantizeOptions(placement="static", target="cpu", activations=way, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", ["static", "dynamic"])
def test_the_costliest_layers_go_back_and_every_point_of_the_front_replays(way: str) -> None:
    found = chain(2)
    x = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    samples = open_samples({"x": x}, found)
    yardstick = ReferenceOutputs(found, CalibrationFeeds(samples).first(16), CONFIG)
    everything = yardstick.error(quantize(found, samples, options(way, float_units=()))[0])

    def excess(candidate: ir.Model) -> float:
        return yardstick.error(candidate) / (0.5 * everything)

    result, report = quantize(found, samples, options(way), drop_over_limit=judge_by(excess))
    decision = report.decision
    assert excess(result) <= 1
    assert [point.loss for point in decision.front] == sorted((point.loss for point in decision.front), reverse=True)
    if decision.front_index:  # the dynamic way may have smoothed the outlier away
        layers = [str(node.name) for node in prepare_model(model_file.clone(found))[0].graph if node.op_type == "MatMul"]
        assert layers[2] in report.details["mixed"]["back"]
        assert decision.mixed_reason.startswith(f"{len(report.details['mixed']['back'])} ops went back to float")
        assert decision.float_units == decision.front[decision.front_index].float_units
    replayed, _ = quantize(
        found,
        samples,
        options(
            way, float_units=decision.float_units, float_weights=decision.float_weights,
            calibration=decision.calibration or "auto", large_weights=decision.large_weights,
        ),
    )  # fmt: skip
    assert model_file.to_bytes(replayed) == model_file.to_bytes(result)
    mildest = options(
        way, float_units=decision.front[-1].float_units, float_weights=decision.float_weights,
        large_weights=decision.large_weights,
    )  # fmt: skip
    milder, _ = quantize(found, samples, mildest)
    assert yardstick.error(milder) <= yardstick.error(result) * 1.01


def test_no_placement_is_built_for_which_there_is_no_time_left() -> None:
    found = chain(2)
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)}, found)
    judged: list[ir.Model] = []

    def excess(candidate: ir.Model) -> float:
        judged.append(candidate)
        return 2.0 if "QuantizeLinear" in {node.op_type for node in candidate.graph} else 0.0

    _, report = quantize(found, samples, options("static"), drop_over_limit=judge_by(excess), deadline=time.monotonic())
    assert len(judged) == 1
    assert report.decision.front == ()
    judged.clear()
    _, report = quantize(
        found, samples, options("static"), drop_over_limit=judge_by(excess), deadline=time.monotonic() + 3600
    )
    assert len(judged) > 2
    assert report.decision.front_index is not None
    assert "the drop stays too large" in report.warnings[-1]


def test_points_that_were_tried_tell_what_few_samples_leave_open() -> None:
    found = chain(2)
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)}, found)

    def judge(candidate: ir.Model) -> DropOverLimit:
        is_int8 = any(node.op_type == "QuantizeLinear" for node in candidate.graph)
        return DropOverLimit(2.0, 0.4) if is_int8 else DropOverLimit(0.0, 0.0)

    _, report = quantize(found, samples, options("static"), drop_over_limit=judge)
    tried = [point for point in report.decision.front if point.excess is not None]
    assert tried[0] is report.decision.front[0]
    assert {(point.excess, point.least_excess) for point in tried} == {(2.0, 0.4)}


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_all_layers_in_float_are_no_placement(layers: int) -> None:
    body = "\n ".join(f"r{i} = MatMul({'x' if i == 0 else f'r{i - 1}'}, w{i})" for i in range(layers))
    weights = {f"w{i}": np.eye(32, dtype=np.float32) for i in range(layers)}
    found = model(f"g (float[n,32] x) => (float[n,32] y) {{ {body}\n y = Identity(r{layers - 1}) }}", **weights)
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)}, found)

    def excess(candidate: ir.Model) -> float:
        return 2.0 if any("Quantize" in node.op_type for node in candidate.graph) else 0.0

    result, report = quantize(found, samples, options("static"), drop_over_limit=judge_by(excess))
    assert any("Quantize" in node.op_type for node in result.graph)
    for point in report.decision.front:
        assert len([name for name in point.float_units if name.startswith("MatMul")]) < layers


def test_a_model_that_drops_too_much_before_it_is_quantized_is_not_searched() -> None:
    found = chain(2)
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)}, found)
    _, report = quantize(found, samples, options("static"), drop_over_limit=judge_by(lambda candidate: 2.0))
    assert report.decision.front == ()
    assert "before it is quantised" in report.warnings[-1]


@pytest.mark.parametrize("way", ["static", "dynamic"])
def test_what_drops_little_enough_keeps_every_layer_in_int8(way: str) -> None:
    found = small()
    samples = data(found)
    plain, _ = quantize(found, samples, options(way))
    result, report = quantize(found, samples, options(way), drop_over_limit=judge_by(lambda candidate: 0.1))
    assert model_file.to_bytes(result) == model_file.to_bytes(plain)
    assert report.decision.front == ()
    assert "mixed" not in report.details


def test_what_drops_near_the_limit_is_told_with_what_is_milder() -> None:
    found = chain(2)
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)}, found)
    plain, _ = quantize(found, samples, options("static", float_units=()))
    result, report = quantize(found, samples, options("static"), drop_over_limit=judge_by(lambda candidate: 0.8))
    assert model_file.to_bytes(result) == model_file.to_bytes(plain)
    assert report.decision.front_index == 0
    assert len(report.decision.front) > 1


def test_max_drop_puts_layers_back_and_the_recipe_replays_it() -> None:
    found = chain(2)
    x = np.random.default_rng(1).standard_normal((256, 32)).astype(np.float32)
    asked_options = {"placement": "static", "target": "cpu", "activations": "static"}
    judge = EvaluationOptions("relative")
    plain = run_recipe(found, Recipe((make_step("quantize", **asked_options),)), data={"x": x}, judge=judge, time_it=False)
    assert plain.evaluation is not None
    drop = plain.evaluation.metric.scaled_drop
    assert drop is not None
    asked = Recipe((make_step("quantize", **asked_options),), Gates(max_drop=drop / 2))
    result = run_recipe(found, asked, data={"x": x}, judge=judge, time_it=False)
    assert result.steps[0].changed["ops back in float"] >= 1
    assert result.evaluation is not None
    assert result.evaluation.metric.scaled_drop is not None
    assert result.evaluation.metric.scaled_drop <= drop / 2
    assert result.recipe is not None
    again = run_recipe(found, parse(result.recipe), data={"x": x}, judge=judge, time_it=False)
    assert result.model is not None
    assert again.model is not None
    assert model_file.to_bytes(again.model) == model_file.to_bytes(result.model)
    assert dataclasses.asdict(asked.gates) == dataclasses.asdict(parse(result.recipe).gates)


@pytest.mark.parametrize("changes", [{"activations": "static"}, {"activations": "dynamic"}, {"weights": "int8"}])
def test_a_milder_placement_than_a_given_one_loses_the_share_that_is_asked_for_and_replays(changes: dict[str, str]) -> None:
    found = chain(3)
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)}, found)
    yardstick = ReferenceOutputs(found, CalibrationFeeds(samples).first(16), CONFIG)
    given = QuantizeOptions(placement="static", target="cpu", float_units=(), **changes)  # type: ignore[arg-type]
    everything = quantize(found, samples, given)[0]
    asked = dataclasses.replace(given, loss_share=0.5)
    milder, report = quantize(found, samples, asked)
    decision = report.decision
    assert decision.front_index, "the first point is what was given"
    assert decision.front[0].float_units == ()
    assert decision.front[decision.front_index].loss <= 0.5 * decision.front[0].loss or (
        decision.front_index == len(decision.front) - 1
    )
    assert decision.float_units == decision.front[decision.front_index].float_units
    assert yardstick.error(milder) < yardstick.error(everything)
    replayed, _ = quantize(
        found, samples, dataclasses.replace(
            given, float_units=decision.float_units, float_weights=decision.float_weights or "auto",
            calibration=decision.calibration or "auto", block_layers=decision.block_layers,
            corrected_layers=decision.corrected_layers,
        ),
    )  # fmt: skip
    assert model_file.to_bytes(replayed) == model_file.to_bytes(milder)


def test_one_layer_has_no_milder_placement() -> None:
    found = model("g (float[n,32] x) => (float[n,32] y) { y = MatMul(x, w) }", w=np.eye(32, dtype=np.float32))
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)}, found)
    with pytest.raises(UnsupportedError, match="loses less"):
        quantize(found, samples, options("static", float_units=(), loss_share=0.5))
