"""What each layer costs alone, and which go back to float when the drop is too large."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.step_report import Account
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pipeline.recipe import Recipe, make_step, parse
from onnxslim.pipeline.recipe_run import run_recipe
from onnxslim.pipeline.task import EvaluationOptions
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.evaluation.output_error import ReferenceOutputs
from onnxslim.quantization.mixed_precision import choose_mixed_precision
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.static.layer_sensitivity import measure_layer_sensitivity
from onnxslim.quantization.step import quantize
from onnxslim.quantization.targets.tables import TARGETS
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplification.step import simplify
from onnxslim.validation.gates import Gates
from tests.support.encoder import data, small
from tests.support.paths import SAMPLES
from tests.support.quantize_graphs import model

CONFIG = SessionConfig()


def chain(spoilt: int) -> ir.Model:
    """Five layers whose channels are alike, but for one input of one layer that is thirty times too large."""
    rng = np.random.default_rng(0)
    weights = {f"w{i}": (rng.standard_normal((32, 32)) / 4).astype(np.float32) for i in range(5)}
    lines = [f"a{i} = MatMul({'x' if i == 0 else f'r{i - 1}'}, w{i})\n r{i} = Tanh(a{i})" for i in range(5)]
    scale = np.ones(32, np.float32)
    scale[3] = 30.0
    lines[spoilt] = lines[spoilt].replace(f"MatMul({'x' if spoilt == 0 else f'r{spoilt - 1}'}", "MatMul(big")
    lines.insert(spoilt, f"big = Mul({'x' if spoilt == 0 else f'r{spoilt - 1}'}, scale)")
    weights[f"w{spoilt}"][3] /= 30.0
    body = "\n ".join(lines)
    return model(f"g (float[n,32] x) => (float[n,32] y) {{ {body}\n y = Identity(r4) }}", **weights, scale=scale)


@pytest.mark.parametrize("spoilt", [0, 2, 4])
def test_the_layer_with_the_outlier_costs_most_alone(spoilt: int) -> None:
    found = prepare_model(model_file.clone(chain(spoilt)), Account(""))
    x = np.random.default_rng(1).standard_normal((16, 32)).astype(np.float32)
    noise = measure_layer_sensitivity(found, TARGETS["cpu"], CalibrationFeeds(open_samples({"x": x}, found)), CONFIG)
    layers = [str(node.name) for node in found.graph if node.op_type == "MatMul"]
    assert list(noise) == layers
    assert max(noise, key=noise.__getitem__) == layers[spoilt]


def test_a_layer_alone_is_as_noisy_as_the_arithmetic_says() -> None:
    plain = model("g (float[n,64] x) => (float[n,64] y) { y = MatMul(x, w) }", w=np.eye(64, dtype=np.float32))
    found = prepare_model(plain, Account(""))
    x = np.random.default_rng(1).uniform(0, 1, (16, 64)).astype(np.float32)
    noise = measure_layer_sensitivity(found, TARGETS["cpu"], CalibrationFeeds(open_samples({"x": x}, found)), CONFIG)
    step_size = x.max() / 255
    expected = step_size**2 / 12 / float(np.square(x).mean())  # uniform rounding error; the weights are exact
    assert next(iter(noise.values())) == pytest.approx(expected, rel=0.15)


def test_every_layer_of_a_network_is_told_from_one_run() -> None:
    digits = prepare_model(simplify(SAMPLES / "digits_cnn.onnx")[0], Account(""))
    samples = open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=16)
    noise = measure_layer_sensitivity(digits, TARGETS["cpu"], CalibrationFeeds(samples), CONFIG)
    assert len(noise) == sum(node.op_type in ("Conv", "Gemm") for node in digits.graph)
    assert all(1e-6 < value < 1e-2 for value in noise.values())


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

    result, account, chosen = choose_mixed_precision(
        found, samples, options, first, lambda o: quantize(found, samples, o), excess, CONFIG
    )
    layers = [
        str(node.name) for node in prepare_model(model_file.clone(found), Account("")).graph if node.op_type == "MatMul"
    ]
    if way == "static" or "mixed" in account.details:  # the dynamic way may have smoothed the outlier away
        assert account.details["mixed"]["back"][0] == layers[2]
        assert account.details["mixed"]["why"].endswith("int8 in all drops 2.0 × what is allowed")
        assert set(account.details["mixed"]["back"]) <= set(chosen.float_units or ())
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

    def again(chosen: QuantizeOptions) -> tuple[ir.Model, Account]:
        tried.append(chosen)
        return quantize(found, samples, chosen)

    def relaxed(seconds: float) -> tuple[ir.Model, Account, QuantizeOptions]:
        tried.clear()
        deadline = time.monotonic() + seconds
        return choose_mixed_precision(
            found, samples, options, first, again, lambda m: 0 if m is found else 2, CONFIG, deadline
        )

    result, account, _ = relaxed(0.5 * first[1].seconds)
    assert result is first[0]
    assert not tried
    assert account.warnings[-1].endswith("and there was no time for more, back in float")
    relaxed(3600)
    assert tried


def test_a_model_that_drops_little_enough_keeps_every_layer_in_int8() -> None:
    found = small()
    samples = data(found)
    options = QuantizeOptions(placement="static", target="cpu", activations="dynamic")
    first = quantize(found, samples, options)
    result, account, chosen = choose_mixed_precision(
        found, samples, options, first, lambda o: first, lambda candidate: 0.5, CONFIG
    )
    assert result is first[0]
    assert chosen.float_units == ()
    assert "mixed" not in account.details


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
