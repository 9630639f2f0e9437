"""``onnxslim benchmark`` as people call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.runtime.devices import choose as choosing
from onnxslim.runtime.devices import machine_figures
from onnxslim.runtime.memory import MemoryUsage
from onnxslim.runtime.session import SessionConfig
from onnxslim.tools import benchmarking
from onnxslim.tools.profiling import draw_feeds

Run = Callable[..., "object"]


def test_benchmark_compares_with_the_first_model(run: Run, cnn: str, evals: str) -> None:
    document = run("benchmark", cnn, cnn, "--data", evals, "--json", "--threads", 1).json
    first, second = document["models"]
    assert first["name"] != second["name"]
    assert first["ratio"] == 1.0
    assert 0.2 < second["ratio"] < 5  # the same file; wide, because the machine may be busy
    assert second["interval"][0] <= second["ratio"] <= second["interval"][1]
    assert document["timing"]["batch"] == 1
    assert first["throughput"]["per_second"] > 0


def test_benchmark_without_data_says_that_they_were_random(run: Run, cnn: str) -> None:
    document = run("benchmark", cnn, "--json").json
    assert document["timing"]["data"].startswith("random")
    assert any("random" in line for line in document["warnings"])


def test_benchmark_at_several_threads_and_batches_is_one_table(
    run: Run, cnn: str, evals: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmarking, "_THROUGHPUT_SECONDS", 0.05)
    monkeypatch.setattr(benchmarking, "measure_memory", lambda *_: MemoryUsage(None, None))
    monkeypatch.setattr(choosing, "_TURN_SECONDS", 1e-3)
    monkeypatch.setattr(machine_figures, "count_own_cores", lambda: 2)
    call = ["benchmark", cnn, cnn, "--data", evals, "--threads", "1,all,2", "--batch-size", "1,4"]
    document = run(*call, "--json").json
    assert [(s["threads"], s["batch"]) for s in document["settings"]] == [(1, 1), (2, 1), (1, 4), (2, 4)]
    assert document["timing"]["threads"] == document["timing"]["batch"] == 1
    for setting in document["settings"]:
        assert setting["models"][0]["ratio"] == 1.0
        assert all(model["median_ms"] > 0 and model["processor_ms"] > 0 for model in setting["models"])


def test_a_fixed_batch_is_told_once_for_each_number_of_threads(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []

    def watch(*models: object, batch_size: int, config: SessionConfig, **options: object) -> benchmarking.Benchmark:
        timed.append((batch_size, config.threads))
        return time_once(*models, batch_size=batch_size, config=config, **options)  # type: ignore[arg-type]

    time_once = benchmarking.benchmark
    monkeypatch.setattr(benchmarking, "benchmark", watch)
    monkeypatch.setattr(benchmarking, "_THROUGHPUT_SECONDS", 0.05)
    monkeypatch.setattr(choosing, "_TURN_SECONDS", 1e-3)
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1,3] x) => (float[1,3] y) { y = Relu (x) }"""
    onnx.save(onnx.parser.parse_model(text), tmp_path / "fixed.onnx")
    call = ["benchmark", tmp_path / "fixed.onnx", "--threads", "1,2", "--batch-size", "1,8", "--json"]
    document = run(*call).json
    assert [(s["threads"], s["batch"]) for s in document["settings"]] == [(1, 1), (2, 1)]
    assert timed == [(1, 1), (1, 2), (8, 1)], "the last one showed that the batch is fixed"


def test_what_is_left_of_the_samples_is_no_batch_and_too_few_are_repeated() -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]> g (float[n,3] x) => (float[n,3] y) { y = Relu (x) }"""
    )
    samples = open_samples({"x": np.zeros((12, 3), np.float32)}, model_file.load(model))
    for size, batches in ((8, [8]), (5, [5, 5]), (16, [16])):
        feeds = draw_feeds(model_file.load(model), samples, SessionConfig(), size, None)[1]
        assert [len(feed["x"]) for feed in feeds] == batches


@pytest.mark.parametrize("option", [["--threads", "0"], ["--threads", "1,x"], ["--batch-size", "all"], ["--batch-size", ""]])
def test_what_is_no_list_of_counts_is_a_wrong_call(run: Run, cnn: str, option: list[str]) -> None:
    outcome = run("benchmark", cnn, *option)
    assert outcome.code == 2
    assert "expected a whole number" in outcome.err
