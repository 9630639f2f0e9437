"""``onnxslim recover`` as people call it: its flags reach the training, and what cannot be meant is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("torch", reason="recover needs torch")


Run = Callable[..., "object"]


@pytest.fixture
def student(cnn: str, tmp_path: Path) -> Path:
    """The sample with every weight a little off."""
    model = onnx.load(cnn)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array((array * 16).round() / 16, tensor.name))
    path = tmp_path / "s.onnx"
    onnx.save(model, path)
    return path


def test_flags_reach_the_recipe(run: Run, student: Path, cnn: str, calib: str, tmp_path: Path) -> None:
    out = tmp_path / "r.onnx"
    flags = ["--steps", 7, "--batch-size", 16, "--lr", 0.004, "--weight-decay", 0.01, "--augment", "crop,noise"]
    text = run("recover", student, "--teacher", cnn, "-o", out, "--data", calib, *flags, "--dry-run", "--json").json
    for line in ("steps: 7", "batch_size: 16", "lr: 0.004", "weight_decay: 0.01", "augment: [crop, noise]"):
        assert line in text["recipe"]
    off = run("recover", student, "--teacher", cnn, "-o", out, "--data", calib, "--augment", "none", "--dry-run")
    assert "augment: []" in off.out
    assert not out.exists()


def test_a_checkpoint_goes_on_and_is_no_part_of_the_recipe(
    run: Run, student: Path, cnn: str, calib: str, evals: str, tmp_path: Path
) -> None:
    call = ["recover", student, "--teacher", cnn, "--data", calib, "--eval-data", evals, "--max-samples", 60]
    kept, first, again = tmp_path / "state", tmp_path / "a.onnx", tmp_path / "b.onnx"
    flags = ["--steps", 20, "--checkpoint", kept, "--augment", "none", "--batch-size", 8]
    document = run(*call, "-o", first, *flags, "--json").json
    assert document["exit_code"] == 0
    assert kept.exists()
    assert str(tmp_path) not in document["recipe"]
    curve = document["steps"][-1]["details"]["curve"]
    assert curve[0]["step"] == 0
    assert 0 <= curve[-1]["agreement"] <= 1
    assert run(*call, "-o", again, *flags, "--json").json["exit_code"] == 0
    assert again.read_bytes() == first.read_bytes()
    outcome = run(*call, "-o", tmp_path / "c.onnx", *flags, "--lr", 0.5)
    assert outcome.code == 2
    assert "belongs to another training" in outcome.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--augment", "flop"], "no flop among flip, crop, noise, mixup"),
        (["--lr", -1], "--lr -1: expected a number above 0"),
        (["--steps", 3, "--epochs", 1], "not several of them"),
        (["--max-samples", 4, "--steps", 3], "too few to hold some back"),
    ],
)
def test_what_cannot_be_meant_exits_2(
    run: Run, student: Path, cnn: str, calib: str, evals: str, tmp_path: Path, flags: list[object], said: str
) -> None:
    out = tmp_path / "r.onnx"
    outcome = run("recover", student, "--teacher", cnn, "-o", out, "--data", calib, "--eval-data", evals, *flags)
    assert outcome.code == 2
    assert said in outcome.err
    assert not out.exists()


def test_recovery_is_judged_against_the_teacher(
    run: Run, calls: dict[str, list[object]], cnn: str, calib: str, evals: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    assert run("quantize", *calls["quantize"]).code == 0
    student, out = tmp_path / "q.onnx", tmp_path / "r.onnx"
    fit = ["--data", calib, "--eval-data", evals, "--steps", 5]
    document = run("recover", student, "--teacher", cnn, "-o", out, *fit, "--json").json
    assert document["exit_code"] == 0
    assert document["input"]["path"] == cnn
    assert document["input"]["bytes"] > document["output"]["bytes"]
    # The student is int8 already; judged against itself it would have lost nothing.
    assert 20 < document["outputs"]["logits"]["sqnr_db"] < 80
