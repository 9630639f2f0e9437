"""``onnxslim evaluate`` as people call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "object"]


def test_the_judged_output_can_be_named(run: Run, samples: Path, evals: str) -> None:
    mlp = samples / "digits_mlp.onnx"
    default = run("evaluate", mlp, "--data", evals, "--json").json
    assert default["judged"]["output"] == "probabilities"
    named = run("evaluate", mlp, "--data", evals, "--output", "label", "--json").json
    assert named["judged"]["output"] == "label"
    assert named["metrics"][0]["result"] == pytest.approx(default["metrics"][0]["result"], abs=0.01)


def test_a_metric_may_be_a_function_of_the_users(
    run: Run, cnn: str, evals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_9f3.py").write_text("def hits(outputs, labels):\n    return outputs.argmax(1) == labels\n")
    monkeypatch.chdir(tmp_path)
    document = run("evaluate", cnn, "--data", evals, "--metric", "mine_9f3:hits", "--allow-code", "--json").json
    metrics = {metric["name"]: metric["result"] for metric in document["metrics"]}
    assert metrics["hits"] == metrics["top1"] > 0.9
