"""The quantize step on real small models: what runs in int8, what stays float, and how close it is."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups, make_plan, name_nodes
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.static.cross_layer_equalization import equalize, find_equalization_groups
from onnxslim.quantization.step import quantize
from onnxslim.quantization.targets.tables import TARGETS
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import Session
from onnxslim.runtime.tap_outputs import tap_outputs
from onnxslim.simplification.step import simplify
from onnxslim.validation.evaluation import evaluate
from tests.support.paths import SAMPLES

STATIC = QuantizeOptions(placement="static")


@pytest.fixture(scope="module")
def digits() -> ir.Model:
    return simplify(SAMPLES / "digits_cnn.onnx")[0]


@pytest.fixture(scope="module")
def calib(digits: ir.Model) -> Samples:
    return open_samples(SAMPLES / "digits_calib.npz", digits, max_samples=64)


def test_every_layer_that_was_placed_runs_in_int8_and_answers_stay(digits: ir.Model, calib: Samples) -> None:
    result, account = quantize(digits, calib, QuantizeOptions(float_units=()))
    ops = [node.op_type for node in read_optimized_graph(result).graph]
    assert "Conv" not in ops
    assert account.changed["layers in int8"] == len(account.details["layers"])
    left = [(one["op"], one["why"]) for one in account.details["surviving"]]
    assert ("QuantizeLinear", "it is an input of the model") in left
    assert "ReduceMean" not in ops, "a mean over the map is a pool, which runs in int8"
    held = open_samples(SAMPLES / "digits_eval.npz", digits)
    judged = evaluate(result, held, reference=digits)
    agreement = judged.find("agreement")
    assert agreement is not None
    assert agreement.result > 0.98


def test_the_model_given_is_not_changed(digits: ir.Model, calib: Samples) -> None:
    before = model_file.to_bytes(digits)
    quantize(digits, calib, STATIC)
    assert model_file.to_bytes(digits) == before


def test_an_excluded_layer_really_stays_float(digits: ir.Model, calib: Samples) -> None:
    work = model_file.clone(digits)
    name_nodes(work)
    convs = [node for node in work.graph if node.op_type == "Conv"]
    inner = str(convs[len(convs) // 2].name)
    result, account = quantize(digits, calib, QuantizeOptions(exclude=(inner,), float_units=()))
    layers = {layer["name"]: layer for layer in account.details["layers"]}
    assert layers[inner]["kernel"] == "float"
    weight = next(node for node in work.graph if node.name == inner).inputs[1]
    assert weight is not None
    floats = [v.name for node in read_optimized_graph(result).graph if node.op_type == "Conv" for v in node.inputs[1:2] if v]
    assert len(floats) == 1
    assert sum(layer["kernel"] == "int8" for layer in layers.values()) == len(layers) - 1


def test_a_first_sample_without_a_signal_spoils_nothing(digits: ir.Model, calib: Samples) -> None:
    images = np.concatenate([feed["image"] for feed in calib.batches(64)])
    silent = open_samples(list(np.concatenate([np.zeros_like(images[:1]), 1e6 * images[:40]])), digits)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        _, account = quantize(digits, silent, STATIC)
    assert all(layer["sqnr_db"] > 15 for layer in account.details["layers"] if layer["kernel"] == "int8")


@pytest.mark.parametrize(("ratio", "float_concat"), [(1.0, False), (640.0, True)])
def test_boxes_and_scores_do_not_share_a_scale(ratio: float, float_concat: bool) -> None:
    draw = np.random.default_rng(0)
    graph = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,16,16,16] x) => (float[1,32,16,16] y) <float[16,16,1,1] wa, float[16,16,1,1] wb> {
          a = Conv(x, wa)
          b = Conv(x, wb)
          s = Sigmoid(b)
          y = Concat<axis = 1>(a, s)
        }"""
    proto = onnx.parser.parse_model(graph)
    for name, scale in (("wa", 0.05 * ratio), ("wb", 0.3)):
        weight = (scale * draw.normal(size=(16, 16, 1, 1))).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    model = model_file.load(proto)
    data = open_samples([draw.normal(size=(16, 16, 16)).astype(np.float32) for _ in range(16)], model)
    result, account = quantize(model, data, QuantizeOptions(float_units=()))
    kernels = [node.op_type for node in read_optimized_graph(result).graph]
    assert ("Concat" in kernels) == float_concat
    assert any("one scale for all" in declined.reason for declined in account.declined) == float_concat
    batch = next(iter(data.batches(1)))
    scores = [Session(one).run(batch)["y"][:, 16:] for one in (model, result)]
    assert np.abs(scores[0] - scores[1]).max() < 0.05


def test_a_pattern_that_matches_nothing_names_the_nearest(digits: ir.Model, calib: Samples) -> None:
    with pytest.raises(UsageError, match="matches no node"):
        quantize(digits, calib, QuantizeOptions(exclude=("no_such_layer",)))


def test_a_quantised_model_is_refused(digits: ir.Model, calib: Samples) -> None:
    result, _ = quantize(digits, calib, STATIC)
    with pytest.raises(UnsupportedError, match="quantised already: QDQ"):
        quantize(result, calib, STATIC)


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


def watched(model: ir.Model) -> list[str]:
    found = find_fusion_groups(model, TARGETS["cpu"])
    return list(make_plan(found, find_int8_capable(found)).tensors)


def test_statistics_of_two_halves_merge_into_exactly_those_of_the_whole(digits: ir.Model) -> None:
    work = model_file.clone(digits)
    shapes.infer(work)
    name_nodes(work)
    names, samples = watched(work), feeds(24)
    whole = observe.collect_statistics(work, samples, names)
    first, second = (observe.collect_statistics(work, part, names) for part in (samples[:11], samples[11:]))
    merged = first.merge(second)
    for field in ("lows", "highs", "exponents", "counts"):
        np.testing.assert_array_equal(getattr(merged, field), getattr(whole, field))


@pytest.mark.parametrize("at_a_time", [1, 3])
def test_where_memory_is_short_tensors_are_watched_in_groups_to_the_same_statistics(
    digits: ir.Model, monkeypatch: pytest.MonkeyPatch, at_a_time: int
) -> None:
    work = model_file.clone(digits)
    shapes.infer(work)
    name_nodes(work)
    names, samples, taps = watched(work), feeds(5), []

    def counting(model: ir.Model, *rest: Any) -> Any:
        taps.append(sum(str(value.name).endswith("__some") for value in model.graph.outputs))
        return run_all(model, *rest)

    whole = observe.collect_statistics(work, samples, names)
    monkeypatch.setattr(observe, "run_all", counting)
    told: list[int] = []
    memory = at_a_time * observe.BYTES_PER_TENSOR
    found = observe.collect_statistics(
        work, samples, names, None, lambda _, done, total: told.append(done), 5, memory_limit=memory
    )
    assert taps == [at_a_time] * (len(names) // at_a_time) + [len(names) % at_a_time] * (len(names) % at_a_time > 0)
    assert told == list(range(1, 5 * len(taps) + 1))
    assert found.names == whole.names
    # what is watched is not fused, so that the last bits may differ
    for field in ("lows", "highs"):
        np.testing.assert_allclose(getattr(found, field), getattr(whole, field), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.counts.sum(axis=1), whole.counts.sum(axis=1))


def test_extremes_are_those_of_every_value_although_some_are_counted(
    digits: ir.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "VALUES_PER_SAMPLE", 16)
    work = model_file.clone(digits)
    shapes.infer(work)
    name_nodes(work)
    names = watched(work)
    found = observe.collect_statistics(work, feeds(3), names)
    session = Session(tap_outputs(work, names))
    outputs = [session.run(feed) for feed in feeds(3)]
    for name in names:
        arrays = [run[name] if name in run else feed[name] for run, feed in zip(outputs, feeds(3), strict=True)]
        np.testing.assert_allclose(found.low[name], min(a.min() for a in arrays), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.high[name], max(a.max() for a in arrays), rtol=1e-5, atol=1e-6)
        counted = found.counts[names.index(name)].sum()
        assert min(16 * 2 / 3, arrays[0].size) <= counted / 3 <= 32


def test_equalising_changes_weights_and_no_output(digits: ir.Model) -> None:
    work = model_file.clone(digits)
    shapes.infer(work)
    names = [name for stream in find_equalization_groups(work) for name in stream.tensors]
    assert names
    chosen = equalize(work, observe.collect_channel_statistics(work, feeds(16), names))
    assert chosen
    for feed in feeds(16):
        for name, array in Session(digits).run(feed).items():
            np.testing.assert_allclose(Session(work).run(feed)[name], array, rtol=1e-3, atol=1e-3)


def test_a_network_of_convolutions_gets_fixed_ranges() -> None:
    """A Clip inside a unit is no border of int8: counted as one, it would make the fixed ranges look dear."""
    rng = np.random.default_rng(0)
    chain = "\n".join(f"c{i} = Conv<pads=[1,1,1,1]>(a{i}, w)\n a{i + 1} = Clip(c{i}, low, high)" for i in range(6))
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,16,56,56] a0) => (float[1,10] y) <float low = {{0}}, float high = {{6}}> {{
      {chain}
      p = GlobalAveragePool(a6)
      f = Flatten(p)
      y = Gemm(f, v)
    }}""")
    for name, shape in (("w", (16, 16, 3, 3)), ("v", (16, 10))):
        array = ir.tensor(rng.normal(size=shape).astype(np.float32) / 8, name=name)
        value = ir.Value(name=name, const_value=array, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
        model.graph.register_initializer(value)
        for node in model.graph:
            for position, given in enumerate(node.inputs):
                if given is not None and given.name == name:
                    node.replace_input_with(position, value)
    data = open_samples({"a0": rng.normal(size=(4, 16, 56, 56)).astype(np.float32)}, model)
    _, account = quantize(model, data, STATIC)
    assert account.details["way"]["way"] == "static"
    assert account.changed["layers in int8"] >= 6
