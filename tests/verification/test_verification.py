"""The gate alone: one verdict, its evidence, and a replay that ends the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import GateError, InconclusiveError, InvalidModelError
from onnxslim.model_io import model_file
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.result import Result
from onnxslim.verification import examination
from onnxslim.verification.receipt_file import read_receipt
from onnxslim.verification.verification import verify
from tests.support.decoders import make_decoder, make_texts


@pytest.fixture(autouse=True)
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examination, "MAX_TIMING_SECONDS", 0.05)


def spoil(path: str, noise: float, *, seed: int = 0) -> ir.Model:
    """The model with noise in its weights, a share of their spread."""
    model, rng = model_file.load(path), np.random.default_rng(seed)
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        weights = value.const_value.numpy()
        if weights.dtype == np.float32 and weights.ndim > 1:
            noisy = weights + noise * weights.std() * rng.normal(size=weights.shape).astype(np.float32)
            value.const_value = ir.tensor(noisy.astype(np.float32))
    return model


def read(result: Result) -> dict:
    """The document, as a reader of its JSON sees it."""
    return json.loads(json.dumps(result.as_json(), allow_nan=False))


def test_a_model_that_lost_nothing_passes_and_a_spoiled_one_fails(cnn: str, evals: str) -> None:
    good = read(verify(spoil(cnn, 1e-4), against=cnn, data=evals))
    assert good["verification"]["verdict"] == good["receipt"]["verdict"] == "pass"
    assert good["summary"].startswith("pass: top1")
    assert {check["name"] for check in good["verification"]["checks"]} == {
        "interface", "opset", "oldest runtime", "load", "drop of top1", "speed",
    }  # fmt: skip
    with pytest.raises(GateError, match="drop of top1") as caught:
        verify(spoil(cnn, 2.0), against=cnn, data=evals)
    bad = read(caught.value.result)
    assert bad["verification"]["verdict"] == "fail"
    assert bad["verification"]["samples"]["used"] <= 500


def test_few_samples_cannot_tell_and_are_a_failure_unless_let_through(cnn: str, evals: str, tmp_path: Path) -> None:
    arrays = dict(np.load(evals))
    np.savez(tmp_path / "few.npz", image=arrays["image"][:40])
    call = {"against": cnn, "data": tmp_path / "few.npz", "max_drop": 0.001}
    with pytest.raises(InconclusiveError) as caught:
        verify(spoil(cnn, 0.01), **call)
    assert "samples would decide" in (caught.value.hint or "")
    let_through = read(verify(spoil(cnn, 0.01), **call, inconclusive="pass"))
    assert let_through["verification"]["verdict"] == "cannot tell"
    # a file that is the original's needs no proof
    assert read(verify(cnn, **call))["verification"]["verdict"] == "pass"


def test_how_many_samples_it_takes_is_said_before_they_are_run(cnn: str, evals: str) -> None:
    told: list[str] = []
    stages: list[tuple[str, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        stages.append((stage, total))
        if stage == "evaluate" and total == 500:
            assert told

    verify(spoil(cnn, 1e-4), against=cnn, data=evals, announce=told.append, progress=progress)
    assert ("evaluate", 500) in stages
    assert "there are 500" in told[0]
    plan = verify(spoil(cnn, 1e-4), against=cnn, data=evals, only_plan=True)
    assert (plan.recipe or "").strip() == told[0]
    assert plan.latency is plan.evaluation is None


def test_another_interface_fails_before_anything_is_run(cnn: str, evals: str) -> None:
    other = model_file.load(cnn)
    other.graph.outputs[0].name = "scores"
    with pytest.raises(GateError, match="output logits is missing") as caught:
        verify(other, against=cnn, data=evals)
    assert caught.value.result.evaluation is None
    with pytest.raises(GateError, match=r"onnxruntime 1\.2 loads at most"):
        verify(spoil(cnn, 1e-4), against=cnn, data=evals, for_ort="1.2")


def test_a_receipt_replays_to_the_same_verdict_and_figures(cnn: str, evals: str, tmp_path: Path) -> None:
    candidate, path = tmp_path / "candidate.onnx", tmp_path / "r.json"
    for noise, verdict in ((1e-4, "pass"), (2.0, "fail")):
        model_file.save(spoil(cnn, noise), candidate)
        try:
            result = verify(candidate, against=cnn, data=evals, seed=3)
        except GateError as error:
            result = error.result
        path.write_text(json.dumps(result.as_json()))
        file = read_receipt(path)
        assert file.receipt.verdict == verdict
        try:
            replayed = verify(candidate, against=cnn, data=evals, seed=3, receipt=file)
        except GateError as error:
            replayed = error.result
        assert (replayed.as_json()["metrics"], replayed.latency) == (result.as_json()["metrics"], result.latency)
        checks = read(replayed)["verification"]["checks"]
        assert checks[-1] == {
            "name": "receipt", "verdict": "pass", "message": f"{path} says {verdict}, and so does this run",
            "value": None, "interval": None, "limit": None, "model": None,
        }  # fmt: skip
    with pytest.raises(InvalidModelError, match="not the model of"):
        verify(cnn, against=cnn, data=evals, seed=3, receipt=file)


def test_a_receipt_that_says_otherwise_fails(cnn: str, evals: str, tmp_path: Path) -> None:
    model_file.save(spoil(cnn, 1e-4), tmp_path / "c.onnx")
    document = verify(tmp_path / "c.onnx", against=cnn, data=evals).as_json()
    document["receipt"]["verdict"] = "fail"
    (tmp_path / "r.json").write_text(json.dumps(document))
    with pytest.raises(GateError, match="says fail, this run pass"):
        verify(tmp_path / "c.onnx", against=cnn, data=evals, receipt=read_receipt(tmp_path / "r.json"))


def test_how_many_steps_of_sequences_it_takes_is_said_too() -> None:
    original = make_decoder(mask=True)
    data = {"input_ids": np.stack(make_texts(*[10] * 12))}
    call = {"against": original, "data": data, "read": DataOptions(state="auto"), "only_plan": True}
    other = model_file.clone(original)
    other.producer_name = "another"
    samples = read(verify(other, **call))["verification"]["samples"]
    assert samples["needed"] >= samples["given"] == samples["used"] == 72
    plan = verify(original, **call).recipe
    assert "about 72 samples decide" in plan  # what is the same needs no more than are run
