"""``onnxslim choose`` as people call it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from onnxslim.runtime.devices import choose as choosing
from onnxslim.verification import examination

Run = Callable[..., "object"]


def test_what_verify_wrote_is_what_choose_reads(
    run: Run, cnn: str, evals: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "MAX_TIMING_SECONDS", 0.05)
    monkeypatch.setattr(choosing, "_TURN_SECONDS", 1e-3)
    content = Path(cnn).read_bytes()
    (tmp_path / "original.onnx").write_bytes(content)
    candidate = tmp_path / "candidate.onnx"
    candidate.write_bytes(content + b"\x12\x04test")
    receipt = tmp_path / "candidate.json"
    assert run("verify", candidate, "--against", cnn, "--data", evals, "-o", receipt).code == 0
    document = run("choose", tmp_path, "--data", evals, "--json").json
    assert [(model["name"], model["why_not"]) for model in document["models"]] == [
        ("candidate.onnx", None), ("original.onnx", None)
    ]  # fmt: skip
    people = run("choose", tmp_path)
    assert people.code == 0
    assert "fastest here: " in people.out


def test_a_wrong_folder_is_a_wrong_call_and_an_empty_one_is_nothing_to_choose_from(run: Run, tmp_path: Path) -> None:
    assert run("choose", tmp_path / "none").code == 2
    outcome = run("choose", tmp_path, "--provider", "cuda")
    assert (outcome.code, "times on the CPU provider" in outcome.err) == (2, True)
    outcome = run("choose", tmp_path)
    assert outcome.code == 4
    assert "no models in it" in outcome.err
