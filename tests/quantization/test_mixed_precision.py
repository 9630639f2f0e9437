"""What each layer costs alone, and which go back to float when the drop is too large."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.step_report import StepReport
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, make_step, parse
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.task import EvaluationOptions
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.mixed_precision import MixedPrecisionContext, choose_mixed_precision
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import SessionConfig
from onnxslim.validation.gates import Gates
from tests.support.encoder import data, small
from tests.support.quantize_graphs import chain, model

CONFIG = SessionConfig()


@pytest.mark.parametrize("way", ["static", "dynamic"])
def test_as_few_layers_as_it_takes_go_back_and_the_costliest_first(way: str) -> None:
    found = chain(2)
    x = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    samples = open_samples({"x": x}, found)
    options = QuantizeOptions(placement="static", target="cpu", activations=way, float_units=())
    yardstick = ReferenceOutputs(found, CalibrationFeeds(samples).first(16), CONFIG)
    first = quantize(found, samples, options)
    seen: list[float] = []

    def excess(candidate: ir.Model) -> float:
        seen.append(yardstick.error(candidate))
        return seen[-1] / (0.5 * seen[0])

    result, report, chosen = choose_mixed_precision(
        found, options, first, MixedPrecisionContext(samples, CONFIG, lambda o: quantize(found, samples, o), excess)
    )
    layers = [str(node.name) for node in prepare_model(model_file.clone(found))[0].graph if node.op_type == "MatMul"]
    if way == "static" or "mixed" in report.details:  # the dynamic way may have smoothed the outlier away
        assert report.details["mixed"]["back"][0] == layers[2]
        assert report.details["mixed"]["why"].endswith("int8 in all drops 2.0 × what is allowed")
        assert set(report.details["mixed"]["back"]) <= set(chosen.float_units or ())
        assert yardstick.error(result) <= 0.5 * seen[0]
        replayed, _ = quantize(found, samples, chosen)
        assert model_file.to_bytes(replayed) == model_file.to_bytes(result)


def test_no_candidate_begins_for_which_there_is_no_time_left() -> None:
    found = chain(2)
    x = np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)
    samples = open_samples({"x": x}, found)
    options = QuantizeOptions(placement="static", target="cpu", activations="static", float_units=())
    first = quantize(found, samples, options)
    tried: list[QuantizeOptions] = []

    def again(chosen: QuantizeOptions) -> tuple[ir.Model, StepReport]:
        tried.append(chosen)
        return quantize(found, samples, chosen)

    def relaxed(seconds: float) -> tuple[ir.Model, StepReport, QuantizeOptions]:
        tried.clear()
        deadline = time.monotonic() + seconds
        context = MixedPrecisionContext(samples, CONFIG, again, lambda m: 0 if m is found else 2, deadline)
        return choose_mixed_precision(found, options, first, context)

    result, report, _ = relaxed(0.5 * first[1].seconds)
    assert result is first[0]
    assert not tried
    assert report.warnings[-1].endswith("and there was no time for more, back in float")
    relaxed(3600)
    assert tried


@pytest.mark.parametrize("layers", [1, 2, 5])
def test_all_layers_in_float_are_no_candidate(layers: int) -> None:
    body = "\n ".join(f"r{i} = MatMul({'x' if i == 0 else f'r{i - 1}'}, w{i})" for i in range(layers))
    weights = {f"w{i}": np.eye(32, dtype=np.float32) for i in range(layers)}
    found = model(f"g (float[n,32] x) => (float[n,32] y) {{ {body}\n y = Identity(r{layers - 1}) }}", **weights)
    samples = open_samples({"x": np.random.default_rng(1).standard_normal((32, 32)).astype(np.float32)}, found)
    options = QuantizeOptions(placement="static", target="cpu", activations="static", float_units=())
    tried: list[int] = []

    def again(chosen: QuantizeOptions) -> tuple[ir.Model, StepReport]:
        tried.append(len([name for name in chosen.float_units or () if name.startswith("MatMul")]))
        return quantize(found, samples, chosen)

    first = quantize(found, samples, options)
    context = MixedPrecisionContext(samples, CONFIG, again, lambda m: 0 if m is found else 2)
    result, report, _ = choose_mixed_precision(found, options, first, context)
    assert result is first[0]
    assert all(0 < count < layers for count in tried)
    assert max(tried, default=0) == layers - 1
    assert ("nothing would be int8" in report.warnings[-1]) == (layers == 1)


def test_a_model_that_drops_little_enough_keeps_every_layer_in_int8() -> None:
    found = small()
    samples = data(found)
    options = QuantizeOptions(placement="static", target="cpu", activations="dynamic")
    first = quantize(found, samples, options)
    result, report, chosen = choose_mixed_precision(
        found, options, first, MixedPrecisionContext(samples, CONFIG, lambda o: first, lambda candidate: 0.5)
    )
    assert result is first[0]
    assert chosen.float_units == ()
    assert "mixed" not in report.details


def test_max_drop_puts_layers_back_and_the_recipe_replays_it() -> None:
    found = chain(2)
    x = np.random.default_rng(1).standard_normal((256, 32)).astype(np.float32)
    options = {"placement": "static", "target": "cpu", "activations": "static"}
    judge = EvaluationOptions("relative")
    plain = run_recipe(found, Recipe((make_step("quantize", **options),)), data={"x": x}, judge=judge, time_it=False)
    assert plain.evaluation is not None
    drop = plain.evaluation.metric.drop
    assert drop is not None
    asked = Recipe((make_step("quantize", **options),), Gates(max_drop=drop / 2))
    result = run_recipe(found, asked, data={"x": x}, judge=judge, time_it=False)
    assert result.steps[0].changed["layers back in float"] >= 1
    assert result.evaluation is not None
    assert result.evaluation.metric.drop is not None
    assert result.evaluation.metric.drop <= drop / 2
    assert result.recipe is not None
    again = run_recipe(found, parse(result.recipe), data={"x": x}, judge=judge, time_it=False)
    assert result.model is not None
    assert again.model is not None
    assert model_file.to_bytes(again.model) == model_file.to_bytes(result.model)
    assert dataclasses.asdict(asked.gates) == dataclasses.asdict(parse(result.recipe).gates)
