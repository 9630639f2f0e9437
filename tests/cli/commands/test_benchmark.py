"""``onnxslim benchmark`` as people call it."""

from __future__ import annotations

from collections.abc import Callable

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
