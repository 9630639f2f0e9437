"""Sessions, providers, taps, timing and profiles; what needs a GPU decides with the provider list injected."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import InvalidModelError, LimitError, UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session, SessionConfig, check_loads, make_run_check
from tests.support.digits import FEED
from tests.support.fatal_models import refused_when_optimized
from tests.support.node_graphs import build


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_silent_fallback_is_an_error(digits: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "onnxslim.runtime.session.available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.raises(UnsupportedError, match=r"fell back|CUDA"):
        Session(digits, SessionConfig(provider="cuda"))


def test_a_provider_that_cannot_start_is_not_blamed_on_the_model(digits: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "onnxslim.runtime.session.available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )

    def start(model: bytes, options: object, providers: list[tuple[str, dict[str, str]]], **more: object) -> object:
        assert more == {"enable_fallback": 0}
        if providers[0][0] != "CPUExecutionProvider":
            raise RuntimeError("CUDA failure 35: driver version is insufficient")
        return object()

    monkeypatch.setattr("onnxslim.runtime.session.ort.InferenceSession", start)
    with pytest.raises(UnsupportedError, match=r"--provider cuda could not start .*driver version is insufficient"):
        Session(digits, SessionConfig(provider="cuda"))


@pytest.mark.gpu
def test_cuda_really_runs(digits: ir.Model) -> None:
    on_cpu = Session(digits).run(FEED)
    on_gpu = Session(digits, SessionConfig(provider="cuda")).run(FEED)
    for name, array in on_cpu.items():
        np.testing.assert_allclose(on_gpu[name], array, atol=1e-2)


def test_an_op_the_runtime_does_not_have_is_unsupported() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17, "no.such" : 1]>
    g (float[1] x) => (float[1] y) { y = no.such.Op(x) }""")
    with pytest.raises((UnsupportedError, InvalidModelError), match="Op"):
        check_loads(model)


@pytest.mark.parametrize(("optimize", "mapped_limit"), [(False, 1 << 30), (True, 1 << 30), (True, 1000)])
def test_large_weights_are_the_same_however_they_reach_the_runtime(
    optimize: bool, mapped_limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "MAPPED_LIMIT", mapped_limit)
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[n,600] x{given}) => (float[n,2] y) {{
        h = MatMul (x, w)
        y = MatMul (h, v)
    }}"""
    w, v = (np.random.default_rng(0).standard_normal((600, side)).astype(np.float32) for side in (600, 2))
    x = np.ones((3, 600), np.float32)
    for given, feeds in (("", {"x": x}), (", float[600,600] w", {"x": x}), (", float[600,600] w", {"x": x, "w": w * 2})):
        proto = onnx.parser.parse_model(text.format(given=given))
        proto.graph.initializer.extend([numpy_helper.from_array(w, "w"), numpy_helper.from_array(v, "v")])
        found = Session(model_file.load(proto), SessionConfig(optimize=optimize)).run(feeds)["y"]
        np.testing.assert_allclose(found, x @ feeds.get("w", w) @ v, rtol=1e-4)


@pytest.mark.parametrize("refusal", [None, LimitError("the model: No space left on device"), PermissionError(13, "no")])
def test_a_large_model_is_mapped_from_a_file_that_goes_again_unless_none_can_be_written(
    refusal: Exception | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[object] = []

    def start(model: object, *args: object, **more: object) -> object:
        given.append(model)
        assert not isinstance(model, str) or len(os.listdir(os.path.dirname(model))) == 2  # the graph, and its weights
        return create(model, *args, **more)

    def refuse(model: ir.Model, folder: str) -> str:
        assert refusal is not None
        raise refusal

    create = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", start)
    monkeypatch.setattr(model_file, "MAPPED_LIMIT", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if refusal is not None:
        monkeypatch.setattr(model_file, "save_for_runtime", refuse)
    weights = np.random.default_rng(0).standard_normal((600, 2)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = build(nodes, {"x": ["n", 600]}, {"y": ["n", 2]}, {"w": weights})
    x = np.ones((3, 600), np.float32)
    np.testing.assert_allclose(Session(model).run({"x": x})["y"], x @ weights, rtol=1e-4, atol=1e-4)
    assert [type(one) for one in given] == [str if refusal is None else bytes]
    assert not any(tmp_path.glob("onnxslim-*"))


def test_the_graph_that_the_runtime_makes_of_a_large_model_has_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_file, "MAPPED_LIMIT", 1000)
    weights = np.random.default_rng(0).standard_normal((600, 2)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    optimized = read_optimized_graph(build(nodes, {"x": ["n", 600]}, {"y": ["n", 2]}, {"w": weights}))
    tensors = [value.const_value for value in optimized.graph.initializers.values()]
    assert any(np.array_equal(tensor.numpy(), weights) for tensor in tensors if tensor is not None)


def test_a_large_weight_that_nothing_reads_is_no_obstacle() -> None:
    unread = numpy_helper.from_array(np.zeros(1_000_000, np.float32), "unread")
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [unread],
    )
    model = model_file.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10))
    found = Session(model, SessionConfig(optimize=False)).run({"x": np.array([-1.0, 1.0], np.float32)})
    np.testing.assert_array_equal(found["y"], [0, 1])


def test_made_up_inputs_are_not_blamed_where_the_model_is_refused_whatever_it_is_fed() -> None:
    model = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x, bool[n] k) => (float[n,4] y) { [twice] h = Relu(x)
    [twice] y = Neg(h) }""")
    with pytest.raises(InvalidModelError, match="two nodes with same node name"):
        open_samples("random", model, run_check=make_run_check(model))


def test_a_model_that_only_the_optimizer_breaks_is_said_to_load_without_it() -> None:
    with pytest.raises(InvalidModelError) as caught:
        Session(refused_when_optimized(), SessionConfig(optimize=True))
    assert "optimisation off" in str(caught.value.hint)
    Session(refused_when_optimized(), SessionConfig(optimize=False))
