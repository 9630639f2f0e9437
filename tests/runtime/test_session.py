"""Sessions, providers, taps, timing and profiles; what needs a GPU decides with the provider list injected."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import InvalidModelError, UnsupportedError
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session, SessionConfig, check_loads
from tests.support.digits import FEED


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


@pytest.mark.parametrize("optimize", [False, True])
def test_large_weights_are_the_same_however_they_reach_the_runtime(optimize: bool) -> None:
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
