"""The quantize step on real small models: what runs in int8, what stays float, and how close it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.graph import shapes
from onnxslim.quantize import QuantizeOptions, calibrate, quantize
from onnxslim.quantize.equalize import equalize, streams
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import make_plan, name_nodes, units
from onnxslim.quantize.targets import TARGETS
from onnxslim.runtime.optimized import optimized
from onnxslim.runtime.session import Session
from onnxslim.simplify import simplify
from onnxslim.validate.evaluate import evaluate

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample_models"
STATIC = QuantizeOptions(placement="static")


@pytest.fixture(scope="module")
def digits() -> ir.Model:
    return simplify(SAMPLES / "digits_cnn.onnx")[0]


@pytest.fixture(scope="module")
def calib(digits: ir.Model) -> Samples:
    return open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=64)


def test_every_layer_that_was_placed_runs_in_int8_and_answers_stay(digits: ir.Model, calib: Samples) -> None:
    result, account = quantize(digits, calib, QuantizeOptions(float_units=()))
    ops = [node.op_type for node in optimized(result).graph]
    assert "Conv" not in ops
    assert account.changed["layers in int8"] == len(account.details["layers"])
    held = open_samples(SAMPLES / "digits_eval.npz", digits)
    judged = evaluate(result, held, reference=digits)
    agreement = judged.find("agreement")
    assert agreement is not None
    assert agreement.result > 0.98


def test_the_model_given_is_not_changed(digits: ir.Model, calib: Samples) -> None:
    before = io.to_bytes(digits)
    quantize(digits, calib, STATIC)
    assert io.to_bytes(digits) == before


def test_an_excluded_layer_really_stays_float(digits: ir.Model, calib: Samples) -> None:
    work = io.clone(digits)
    name_nodes(work)
    convs = [node for node in work.graph if node.op_type == "Conv"]
    inner = str(convs[len(convs) // 2].name)
    result, account = quantize(digits, calib, QuantizeOptions(exclude=(inner,), float_units=()))
    layers = {layer["name"]: layer for layer in account.details["layers"]}
    assert layers[inner]["kernel"] == "float"
    weight = next(node for node in work.graph if node.name == inner).inputs[1]
    assert weight is not None
    floats = [v.name for node in optimized(result).graph if node.op_type == "Conv" for v in node.inputs[1:2] if v]
    assert len(floats) == 1
    assert sum(layer["kernel"] == "int8" for layer in layers.values()) == len(layers) - 1


def test_a_pattern_that_matches_nothing_names_the_nearest(digits: ir.Model, calib: Samples) -> None:
    with pytest.raises(UsageError, match="matches no node"):
        quantize(digits, calib, QuantizeOptions(exclude=("no_such_layer",)))


def test_a_quantised_model_is_refused(digits: ir.Model, calib: Samples) -> None:
    result, _ = quantize(digits, calib, STATIC)
    with pytest.raises(UnsupportedError, match="quantised already: QDQ"):
        quantize(result, calib, STATIC)


def test_cuda_is_refused_with_the_reason(digits: ir.Model, calib: Samples) -> None:
    with pytest.raises(UnsupportedError, match="no int8 kernels"):
        quantize(digits, calib, QuantizeOptions(target="cuda"))


def test_an_infinity_inside_names_the_tensor_and_the_sample() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,2] x) => (float[n,2] y) <float[2,2] w = {1,0,0,1}> {
      e = Exp(x)
      y = MatMul(e, w)
    }""")
    data = open_samples({"x": np.array([[0, 1], [0, 1000]], np.float32)}, model)
    with pytest.raises(InvalidDataError, match="sample 1: NaN or infinity in tensor e"):
        quantize(model, data, STATIC)


def feeds(n: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"image": rng.uniform(size=(1, 1, 8, 8)).astype(np.float32)} for _ in range(n)]


def test_statistics_of_two_halves_merge_into_those_of_the_whole(digits: ir.Model) -> None:
    work = io.clone(digits)
    shapes.infer(work)
    name_nodes(work)
    found = units(work, TARGETS["cpu"])
    names = list(make_plan(found, everything(found)).tensors)
    samples = feeds(24)
    whole = calibrate.extremes(work, samples, names)
    first, second = (calibrate.extremes(work, part, names) for part in (samples[:11], samples[11:]))
    merged = first.merge(second)
    assert (merged.low, merged.high, merged.samples) == (whole.low, whole.high, 24)
    np.testing.assert_allclose(list(merged.sum_high.values()), list(whole.sum_high.values()))

    def counts(part: Sequence[dict[str, np.ndarray]]) -> calibrate.Statistics:
        return calibrate.histograms(work, part, merged)

    both, everyone = counts(samples[:11]).merge(counts(samples[11:])), counts(samples)
    for name in names:
        np.testing.assert_array_equal(both.counts[name], everyone.counts[name])


def test_few_tensors_at_a_time_count_the_same(digits: ir.Model) -> None:
    work = io.clone(digits)
    shapes.infer(work)
    name_nodes(work)
    found = units(work, TARGETS["cpu"])
    seen = calibrate.extremes(work, feeds(4), list(make_plan(found, everything(found)).tensors))
    wide = calibrate.histograms(work, feeds(4), seen)
    narrow = calibrate.histograms(work, feeds(4), seen, max_memory=20_000)
    for name, counts in wide.counts.items():
        # the runtime fuses differently around other taps, so a value at a bin's edge may fall on its other side
        assert np.abs(np.cumsum(counts - narrow.counts[name])).max() <= 2


def test_equalising_changes_weights_and_no_output(digits: ir.Model) -> None:
    work = io.clone(digits)
    shapes.infer(work)
    names = [name for stream in streams(work) for name in stream.tensors]
    assert names
    chosen = equalize(work, calibrate.channels(work, feeds(16), names))
    assert chosen
    for feed in feeds(16):
        for name, array in Session(digits).run(feed).items():
            np.testing.assert_allclose(Session(work).run(feed)[name], array, rtol=1e-3, atol=1e-3)
