"""What a run holds, and batches that keep below it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations import working_set
from onnxslim.activations.working_set import estimate_peak_bytes, find_crossing, find_tensor_bytes, plan_batch_size
from onnxslim.model_io import model_file
from onnxslim.runtime.memory import read_resident_bytes
from tests.support import nets


def chain(width: int, tail: str = "ReduceMean") -> ir.Model:
    """x (n, 4) → two maps of (n, 4 · width) one after another → one number a sample."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["n", 4]))
    repeats = ir.tensor(np.array([1, width]), name="repeats")
    repeats_value = ir.Value(name="repeats", const_value=repeats, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([2]))
    tile = ir.node("Tile", [x, repeats_value])
    relu = ir.node("Relu", [tile.outputs[0]])
    reduce = ir.node(tail, [relu.outputs[0]], {"axes": [1]} if tail == "ReduceMean" else {})
    for name, node in (("wide", tile), ("relu", relu), ("y", reduce)):
        node.outputs[0].name, node.outputs[0].dtype = name, ir.DataType.FLOAT
    graph = ir.Graph(
        [x], [reduce.outputs[0]], nodes=[tile, relu, reduce], initializers=[repeats_value], opset_imports={"": 17},
        name="chain",
    )  # fmt: skip
    return ir.Model(graph, ir_version=8)


def feed(n: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros((n, 4), np.float32)}


@pytest.mark.parametrize("n", [1, 5])
def test_the_peak_is_where_most_tensors_are_alive(n: int) -> None:
    assert estimate_peak_bytes(chain(width=100), feed(n)) == 2 * n * 1600


def test_an_output_is_held_to_the_end() -> None:
    model = chain(width=100, tail="Identity")
    model.graph.outputs.append(model.graph.node(0).outputs[0])
    assert estimate_peak_bytes(model, feed(3)) == 3 * 3 * 1600


def test_a_tensor_of_unknown_shape_counts_as_what_it_is_computed_from() -> None:
    model = chain(width=100)
    model.graph.node(1).op_type, model.graph.node(1).domain = "Unheard", "of.it"
    model.opset_imports["of.it"] = 1
    assert estimate_peak_bytes(model, feed(2)) == 2 * 2 * 1600


def test_batches_are_as_large_as_the_limit_allows_and_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nets.residual(blocks=1)
    data = nets.samples(model, 9)
    alone = estimate_peak_bytes(model, next(iter(data.batches(1))))
    for limit, expected in ((alone // 2, 1), (alone, 1), (5 * alone, 5), (10**12, 16)):
        monkeypatch.setattr(working_set, "MAX_RUN_BYTES", limit)
        assert plan_batch_size(model, data, 16) == expected
    monkeypatch.setattr(working_set, "MAX_RUN_BYTES", 5 * alone)
    assert plan_batch_size(model, data, 16, bytes_per_sample=10 * alone) < 5


def test_sizes_follow_what_is_fed() -> None:
    sizes = find_tensor_bytes(chain(width=10), feed(7))
    assert (sizes["x"], sizes["wide"], sizes["y"]) == (7 * 16, 7 * 160, 7 * 4)


def test_what_crosses_a_cut_is_what_is_read_behind_it() -> None:
    model = chain(width=2)
    assert find_crossing(list(model.graph), list(model.graph.inputs)) == [["x"], ["wide"], ["relu"], []]


_JUDGE = """
import threading, time
import numpy as np
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.memory import read_resident_bytes
from onnxslim.validation.evaluation import evaluate

model = model_file.load(MODEL)
samples = open_samples({"x": np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)}, model)
start, peak, done = read_resident_bytes(), 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, read_resident_bytes())
        time.sleep(0.001)

watcher = threading.Thread(target=watch)
watcher.start()
evaluate(model, samples, reference=model)
done = True
watcher.join()
print(peak - start)
"""


@pytest.mark.skipif(read_resident_bytes() is None, reason="the system does not tell what a process holds")
def test_a_model_with_large_maps_is_judged_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "wide.onnx"
    model_file.save(chain(width=2_000_000), path)  # 64 MB alive for a sample, 4 GB for all 64 at once
    script = _JUDGE.replace("MODEL", repr(str(path)))
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300)
    assert int(told.stdout) < 900_000_000
