"""Recording: a fair sample of real requests, in a file that ``--data`` reads."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import onnxslim
from onnxslim.core.errors import UsageError
from onnxslim.data.sources import open_samples


@pytest.fixture
def model() -> bytes:
    """y = x + state, and a scalar that is handed on; x is of any length."""
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "length"]),
        helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, "batch", 1]),
        helper.make_tensor_value_info("rate", TensorProto.INT64, []),
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "length"]),
        helper.make_tensor_value_info("r", TensorProto.INT64, []),
    ]
    nodes = [
        helper.make_node("ReduceSum", ["state"], ["s"], keepdims=0),
        helper.make_node("Add", ["x", "s"], ["y"]),
        helper.make_node("Identity", ["rate"], ["r"]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture
def session(model: bytes) -> ort.InferenceSession:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def request(number: int, batch: int = 1, length: int = 3) -> dict[str, np.ndarray]:
    x = np.full((batch, length), number, np.float32) + np.arange(batch, dtype=np.float32)[:, None] / 8
    return {"x": x, "state": np.full((2, batch, 1), number, np.float32), "rate": np.array(16000)}


def test_answers_are_the_sessions_own_and_so_is_everything_else(session: ort.InferenceSession, tmp_path: Path) -> None:
    recorded = onnxslim.record(session, tmp_path / "c.npz")
    assert np.array_equal(recorded.run(None, request(1))[0], session.run(None, request(1))[0])
    assert [i.name for i in recorded.get_inputs()] == ["x", "state", "rate"]


def test_the_file_is_data_for_the_same_model(model: bytes, session: ort.InferenceSession, tmp_path: Path) -> None:
    with onnxslim.record(session, tmp_path / "c.npz", n=50) as recorded:
        for number in range(10):
            recorded.run(None, request(number, batch=1 + number % 3))
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    samples = open_samples(tmp_path / "c.npz", onnxslim.load(path))
    assert len(samples) == sum(1 + number % 3 for number in range(10))
    rows = np.concatenate([batch["x"] for batch in samples.batches(4)])
    expected = np.concatenate([request(number, batch=1 + number % 3)["x"] for number in range(10)])
    assert np.array_equal(rows, expected)
    assert {batch["rate"].item() for batch in samples.batches(4)} == {16000}


def test_requests_of_different_shapes_come_back_in_their_own(
    model: bytes, session: ort.InferenceSession, tmp_path: Path
) -> None:
    with onnxslim.record(session, tmp_path / "c.npz") as recorded:
        for length in (3, 5, 2, 5):
            recorded.run(None, request(length, length=length))
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    samples = open_samples(tmp_path / "c.npz", onnxslim.load(path))
    batches = list(samples.batches(8))
    assert [batch["x"].shape for batch in batches] == [(1, 3), (1, 5), (1, 2), (1, 5)]
    assert all((batch["x"] == batch["x"].shape[1]).all() for batch in batches)


def test_threads_lose_nothing(session: ort.InferenceSession, tmp_path: Path) -> None:
    recorded = onnxslim.record(session, tmp_path / "c.npz", n=1000)

    def serve() -> None:
        for number in range(50):
            recorded.run(None, request(number))

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorded.save()
    assert len(np.load(tmp_path / "c.npz")["x"]) == 200


def test_a_request_that_cannot_be_recorded_is_still_answered(session: ort.InferenceSession, tmp_path: Path) -> None:
    recorded = onnxslim.record(session, tmp_path / "c.npz")
    with pytest.raises(Exception, match="extra"):
        recorded.run(None, {**request(1), "extra": np.zeros(1)})
    assert recorded.run(["y"], request(1))[0].shape == (1, 3)


def test_without_requests_nothing_is_written(session: ort.InferenceSession, tmp_path: Path) -> None:
    with onnxslim.record(session, tmp_path / "c.npz"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("path", "n"), [("c.npy", 4), ("nowhere/c.npz", 4), ("c.npz", 0)])
def test_a_call_that_could_not_end_well_is_refused(session: ort.InferenceSession, tmp_path: Path, path: str, n: int) -> None:
    with pytest.raises(UsageError):
        onnxslim.record(session, tmp_path / path, n)
