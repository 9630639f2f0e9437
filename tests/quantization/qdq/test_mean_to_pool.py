"""Means over whole maps run in int8: as the pool that the runtime has a kernel for."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.qdq.mean_to_pool import replace_means_with_pools
from onnxslim.quantization.step import quantize
from onnxslim.quantization.targets.onnxruntime_cpu import CPU
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import EVERYTHING, close, kernels, model, samples, weight

OLD = "m = ReduceMean <axes = [2, 3], keepdims = 0> (r)"
NEW = "m = ReduceMean <keepdims = 0> (r, axes)"


def classifier(mean: str, opset: int, middle: str = "r = Relu (c)") -> ir.Model:
    text = f"""g (float[n,16,8,8] x) => (float[n,10] y) {{
        c = Conv <pads = [1,1,1,1]> (x, w)
        {middle}
        {mean}
        y = Gemm (m, v)
    }}"""
    given = {"w": weight(32, 16, 3, 3), "v": weight(32, 10)}
    if "axes" in mean.split("(")[1]:
        given["axes"] = np.array([-1, 2])
    found = model(text, **given)
    found.opset_imports[""] = opset
    return found


@pytest.mark.parametrize(("mean", "opset"), [(OLD, 17), (NEW, 18)])
def test_a_mean_that_drops_the_map_runs_in_int8(mean: str, opset: int) -> None:
    found = classifier(mean, opset)
    data = samples(found, 16, 8, 8)
    result, report = quantize(found, data, EVERYTHING)
    ran = kernels(result)
    assert ran["QLinearGlobalAveragePool"] == 1
    assert ran["ReduceMean"] == 0
    assert ran["DequantizeLinear"] <= 1
    assert report.changed["means written as pools"] == 1
    assert "axes" not in result.graph.initializers
    assert close(found, result, data)


def test_a_mean_behind_a_residual_sum_does_so_too() -> None:
    found = classifier(OLD, 17, "d = Conv <pads = [1,1,1,1]> (x, w)\n s = Add (c, d)\n r = Relu (s)")
    data = samples(found, 16, 8, 8)
    assert kernels(quantize(found, data, EVERYTHING)[0])["QLinearGlobalAveragePool"] == 1


@pytest.mark.parametrize(("mean", "opset"), [(OLD, 17), (NEW, 18)])
def test_the_pool_computes_the_mean(mean: str, opset: int) -> None:
    found = classifier(mean, opset)
    (feed,) = list(samples(found, 16, 8, 8, count=3).batches(3))
    work = prepare_model(model_file.clone(found))[0]
    assert replace_means_with_pools(work, CPU) == 1
    assert [node.op_type for node in work.graph] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    np.testing.assert_allclose(Session(work).run(feed)["y"], Session(found).run(feed)["y"], rtol=1e-5, atol=1e-6)


def test_a_mean_that_keeps_its_axes_is_the_pool_alone() -> None:
    found = classifier("k = ReduceMean <axes = [2, 3]> (r)\n m = Flatten (k)", 17)
    (feed,) = list(samples(found, 16, 8, 8, count=3).batches(3))
    work = prepare_model(model_file.clone(found))[0]
    assert replace_means_with_pools(work, CPU) == 1
    assert [node.op_type for node in work.graph] == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    np.testing.assert_allclose(Session(work).run(feed)["y"], Session(found).run(feed)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("mean", "middle"),
    [
        ("a = ReduceMean <axes = [2], keepdims = 0> (r)\n m = ReduceMean <axes = [2], keepdims = 0> (a)", "r = Relu (c)"),
        (OLD, "r = Tanh (c)"),
    ],
    ids=["one axis after another", "float before it"],
)
def test_other_means_stay_as_they_are(mean: str, middle: str) -> None:
    assert replace_means_with_pools(prepare_model(classifier(mean, 17, middle))[0], CPU) == 0


def test_a_mean_that_is_an_output_keeps_its_name() -> None:
    text = """g (float[n,16,8,8] x) => (float[n,32] y) {
        c = Conv (x, w)
        y = ReduceMean <axes = [2, 3], keepdims = 0> (c)
    }"""
    found = model(text, w=weight(32, 16, 3, 3))
    result = prepare_model(model_file.clone(found))[0]
    assert replace_means_with_pools(result, CPU) == 1
    assert [value.name for value in result.graph.outputs] == ["y"]
    (feed,) = list(samples(found, 16, 8, 8, count=2).batches(2))
    np.testing.assert_allclose(Session(result).run(feed)["y"], Session(found).run(feed)["y"], rtol=1e-5, atol=1e-6)
