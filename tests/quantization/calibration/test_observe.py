"""Activations observed: halves add up, groups see the same, extremes are exact, what is not finite is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations import observer
from onnxslim.core.errors import InvalidDataError
from onnxslim.data.sources import open_samples
from onnxslim.graph import shapes
from onnxslim.graph.signature import tap_outputs
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups, make_plan
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.step import quantize
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import Session
from tests.support.digits import feeds
from tests.support.quantize_graphs import STATIC


def test_an_infinity_that_reaches_the_outputs_names_the_tensor_and_the_sample() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,2] x) => (float[n,2] y) <float[2,2] w = {1,0,0,1}> {
      e = Exp(x)
      y = MatMul(e, w)
    }""")
    data = open_samples({"x": np.array([[0, 1000], [0, 2000]], np.float32)}, model)
    with pytest.raises(InvalidDataError, match="tensor e is NaN or infinite in calibration sample 0, and every output"):
        quantize(model, data, STATIC)


def test_the_mask_that_leaves_nothing_is_not_what_is_named() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,2] x, bool[n,2] m) => (float[n,2] y) <float low = {0}, float[2,2] w = {1,0,0,1}> {
      s = Log(low)
      t = Where(m, x, s)
      p = Softmax(t)
      y = MatMul(p, w)
    }""")
    data = open_samples({"x": np.ones((4, 2), np.float32), "m": np.zeros((4, 2), bool)}, model)
    with pytest.raises(InvalidDataError, match="tensor p is NaN"):
        quantize(model, data, STATIC)


def test_nothing_is_learnt_from_a_sample_of_which_no_output_is_finite() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,2] x) => (float[n,2] y) { a = Neg(x) b = Log(a) y = Neg(b) }""")
    kept = [{"x": np.array([[-1, -8]], np.float32)}, {"x": np.array([[-3, -4]], np.float32)}]
    lost = {"x": np.array([[900, 900]], np.float32)}
    seen = observe.collect_statistics(model, [kept[0], lost, kept[1]], ["a", "b"])
    assert (seen.low, seen.count_unseen()) == ({"a": 1.0, "b": 0.0}, 1)
    alone = observe.collect_statistics(model, kept, ["a", "b"])
    np.testing.assert_array_equal(seen.counts, alone.counts)
    assert seen.high == alone.high


def watched(model: ir.Model) -> list[str]:
    found = find_fusion_groups(model, TARGETS["cpu"])
    return list(make_plan(found, find_int8_capable(found)).tensors)


def test_statistics_of_two_halves_merge_into_exactly_those_of_the_whole(digits: ir.Model) -> None:
    work = model_file.clone(digits)
    shapes.infer(work)
    name_nodes(work.graph.all_nodes())
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
    name_nodes(work.graph.all_nodes())
    names, samples, taps = watched(work), feeds(5), []

    def counting(model: ir.Model, *rest: Any) -> Any:
        taps.append(sum(str(value.name).endswith("__some") for value in model.graph.outputs))
        return run_all(model, *rest)

    whole = observe.collect_statistics(work, samples, names)
    monkeypatch.setattr(observer, "run_all", counting)
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
    name_nodes(work.graph.all_nodes())
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
