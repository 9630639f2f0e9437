"""Sessions, providers, taps, timing and profiles; what needs a GPU decides with the provider list injected."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxslim.core.errors import InvalidModelError, UnsupportedError, UsageError
from onnxslim.model_io import model_file
from onnxslim.runtime import memory, parallel, providers
from onnxslim.runtime.node_profile import NodeTime, describe_fallback, measure_node_times, summarize_events
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session, SessionConfig, check_loads
from onnxslim.runtime.tap_outputs import tap_outputs
from onnxslim.runtime.timing import interleave
from tests.support.paths import SAMPLES

MODEL = SAMPLES / "digits_cnn.onnx"
FEED = {"image": np.random.default_rng(0).uniform(size=(1, 1, 8, 8)).astype(np.float32)}


@pytest.fixture(scope="module")
def digits() -> ir.Model:
    return model_file.load(MODEL)


def test_cuda_is_refused_where_it_is_not_built_in_with_what_installs_it() -> None:
    with pytest.raises(UnsupportedError, match="no CUDAExecutionProvider") as caught:
        providers.parse_provider("cuda:1", ["CPUExecutionProvider"])
    assert "onnxruntime-gpu" in str(caught.value.hint)


def test_cuda_with_a_device_is_taken_where_it_is_built_in() -> None:
    found = providers.parse_provider("cuda:1", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert (found.name, found.device, found.label) == ("CUDAExecutionProvider", 1, "cuda:1")


@pytest.mark.parametrize("text", ["rocket", "cuda:", "CUDA", "cuda:x", ""])
def test_an_unknown_provider_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        providers.parse_provider(text, ["CPUExecutionProvider"])


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


def test_a_tap_shows_an_inner_tensor_and_changes_nothing(digits: ir.Model) -> None:
    inner = next(node.outputs[0] for node in digits.graph if node.op_type == "Conv")
    outputs = Session(tap_outputs(digits, [str(inner.name)])).run(FEED)
    shown = outputs[digits.graph.outputs[0].name or ""]
    np.testing.assert_array_equal(shown, next(iter(Session(digits).run(FEED).values())))
    alone = Session(tap_outputs(digits, [str(inner.name)], only=True))
    assert alone.outputs == [inner.name]


def test_interleaved_sessions_of_one_model_are_equally_fast(digits: ir.Model) -> None:
    timing = interleave({"a": Session(digits), "b": Session(digits)}, [FEED], rounds=20, seconds=3)
    assert len(timing.rounds["a"]) == len(timing.rounds["b"]) >= 5
    assert (timing.provider, timing.threads, timing.batch) == ("cpu", 1, 1)


def test_a_profile_names_every_node_that_ran(digits: ir.Model) -> None:
    times = measure_node_times(digits, [FEED], runs=5)
    assert set(times) == {node.name for node in read_optimized_graph(digits).graph}
    assert all(time.provider == "CPUExecutionProvider" for time in times.values())


def test_a_profile_leaves_out_its_warm_up() -> None:
    events = [{"cat": "Node", "name": "n_kernel_time", "dur": d, "args": {"op_name": "Add"}} for d in (900, 10, 20, 30)]
    assert summarize_events(events, warmup=1)["n"].seconds == pytest.approx(20e-6)


def test_parallel_runs_come_back_in_order(digits: ir.Model) -> None:
    feeds = [{"image": np.full((1, 1, 8, 8), i / 20, np.float32)} for i in range(20)]
    expected = [Session(digits).run(feed) for feed in feeds]
    found = list(parallel.run_all(digits, feeds, lambda i, outputs: (i, outputs)))
    assert [i for i, _ in found] == list(range(20))
    for (_, got), want in zip(found, expected, strict=True):
        for name in want:
            np.testing.assert_allclose(got[name], want[name], atol=1e-5)


def test_peak_memory_is_measured_in_a_process_of_its_own(digits: ir.Model) -> None:
    found = memory.measure_peak(digits, FEED, SessionConfig())
    assert found is not None
    assert 100_000 < found < 500_000_000
    assert memory.measure_peak(digits, FEED, SessionConfig(provider="cuda")) is None


def test_an_entry_that_the_runtime_never_reads_is_refused_with_the_nearest(digits: ir.Model) -> None:
    Session(digits, SessionConfig(session_options={"session.intra_op.allow_spinning": "0"}))
    with pytest.raises(UsageError, match=r"session\.intra_op\.allow_spining: .* knows no such entry") as caught:
        Session(digits, SessionConfig(session_options={"session.intra_op.allow_spining": "0"}))
    assert "session.intra_op.allow_spinning" in str(caught.value.hint)


def test_the_cpu_provider_has_no_options(digits: ir.Model) -> None:
    with pytest.raises(UsageError, match="--provider-option arena: the cpu provider has no options"):
        Session(digits, SessionConfig(provider_options={"arena": "1"}))


def test_memory_is_what_a_bare_process_gains_now_and_at_its_peak(digits: ir.Model) -> None:
    found = memory.measure_memory(digits, FEED, SessionConfig(session_options={"session.intra_op.allow_spinning": "0"}))
    assert found.resident is not None
    assert found.peak is not None
    assert 0 < found.resident <= found.peak
    assert found.device is None


def test_nodes_that_ran_elsewhere_are_counted_and_named() -> None:
    nodes = [
        NodeTime("a", "Conv", "CPUExecutionProvider", 3.0),
        NodeTime("b", "Loop", "OtherExecutionProvider", 1.0),
    ]
    assert describe_fallback(nodes, SessionConfig()) == "1 of 2 nodes ran on Other, not on cpu, 25% of the time (Loop)"
    assert describe_fallback(nodes[:1], SessionConfig()) is None


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
