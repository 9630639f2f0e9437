"""``--receipt`` of the commands that make a model, ``verify --receipt`` of what they write, and model cards."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result
from onnxslim.verification import examination, verification
from tests.support.paths import SAMPLES

STATIC = ("--placement", "static")


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr(examination, "MAX_TIMING_SECONDS", 0.05)


@pytest.fixture
def few(evals: str, tmp_path: Path) -> str:
    """Data that are divided."""
    path = tmp_path / "few.npz"
    arrays = np.load(evals)
    np.savez(path, image=arrays["image"][:240], labels=arrays["labels"][:240])
    return str(path)


HELD_BACK = ["--data", "{few}", "--max-samples", "200", "--seed", "3"]
CALLS = {
    "a set of its own": ["simplify", "{wide}", "--data", "{few}"],
    "a share that was held back": ["quantize", "{cnn}", *HELD_BACK, *STATIC],
    "limits": ["optimize", "{cnn}", *HELD_BACK, "--recipe", "int8", "--max-drop", "5%", "--min-speedup", ".01", *STATIC],
    "pruning": ["prune", "{wide}", *HELD_BACK, "--remove", "5%", "--of", "params", "--round-to", "1", "--criterion", "l2"],
}


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(call, id=name, marks=[pytest.mark.nightly] * (name in ("limits", "pruning")))
        for name, call in CALLS.items()
    ],
)
def test_the_receipt_of_a_command_repeats_to_the_same_verdict(run, call, cnn, wide, few, tmp_path):
    names = {"cnn": cnn, "wide": wide, "few": few}
    out, receipt = tmp_path / "o.onnx", tmp_path / "r.json"
    outcome = run(*(word.format(**names) for word in call), "-o", out, "--receipt", receipt, "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(receipt.read_text())
    assert document == outcome.json
    found = document["receipt"]
    assert found["candidate"]["path"] == str(out)
    assert found["samples_used"] == found["data"]["n"] == document["data"]["confirm"]["n"]
    moved = shutil.move(out, tmp_path / "moved.onnx")
    again = run("verify", moved, "--receipt", receipt, "--json")
    assert again.code == {"pass": 0, "fail": 5, "cannot tell": 7}[found["verdict"]], again.err
    checks, repeated = document["verification"]["checks"], again.json["verification"]["checks"]
    assert repeated[:-1] == checks
    assert repeated[-1]["verdict"] == "pass"
    assert again.json["receipt"] == {**found, "candidate": {**found["candidate"], "path": str(moved), "files": {
        "moved.onnx": found["candidate"]["files"]["o.onnx"]}}}  # fmt: skip


def test_a_search_that_judges_by_some_of_the_samples_has_a_receipt_too(run, cnn, calib, evals, tmp_path):
    receipt = tmp_path / "r.json"
    fit = ["--data", calib, "--eval-data", evals, "--budget", "4s", *STATIC]
    outcome = run("optimize", cnn, "-o", tmp_path / "o.onnx", *fit, "--receipt", receipt)
    assert outcome.code == 0, outcome.err
    found = json.loads(receipt.read_text())["receipt"]
    again = run("verify", "--receipt", receipt, "--json")
    assert again.code == {"pass": 0, "fail": 5, "cannot tell": 7}[found["verdict"]], again.err
    assert again.json["receipt"]["samples_used"] == found["samples_used"]


def test_without_data_what_was_lost_cannot_be_told(run, wide, evals, tmp_path):
    receipt = tmp_path / "r.json"
    assert run("simplify", wide, "-o", tmp_path / "o.onnx", "--receipt", receipt).code == 0
    found = json.loads(receipt.read_text())["receipt"]
    assert (found["verdict"], found["data"]) == ("cannot tell", None)
    outcome = run("verify", "--receipt", receipt)
    assert (outcome.code, "there are no data to judge on" in outcome.err) == (7, True)
    assert run("verify", "--receipt", receipt, "--inconclusive", "pass").code == 0
    outcome = run("verify", "--receipt", receipt, "--data", evals)
    assert (outcome.code, "made without data" in outcome.err) == (2, True)


def test_made_up_data_are_none(run, wide, tmp_path):
    receipt = tmp_path / "r.json"
    outcome = run("simplify", wide, "-o", tmp_path / "o.onnx", "--data", "random", "--receipt", receipt)
    assert outcome.code == 0, outcome.err
    assert json.loads(receipt.read_text())["receipt"]["data"] is None


def test_an_original_that_is_overwritten_cannot_be_verified_by(run, wide, tmp_path):
    model = shutil.copy(wide, tmp_path / "m.onnx")
    before = Path(model).read_bytes()
    outcome = run("simplify", model, "-o", model, "--force", "--receipt", tmp_path / "r.json")
    assert (outcome.code, "takes the place of" in outcome.err) == (2, True)
    assert Path(model).read_bytes() == before


def test_what_cannot_be_verified_takes_nobodys_place(run, wide, cnn, tmp_path, monkeypatch):
    """The original is gone by then; what is written and what nothing was gained on, which is copied."""
    out = Path(shutil.copy(cnn, tmp_path / "o.onnx"))

    def refuse(result, path, **_):
        assert model_file.load(path).graph.name == model_file.load(wide).graph.name
        raise InvalidModelError("another file by now")

    monkeypatch.setattr(verification, "certify", refuse)
    for target, copied in ((tmp_path / "new.onnx", False), (out, False), (out, True)):
        monkeypatch.setattr(Result, "is_original", property(lambda self, is_it=copied: is_it, lambda self, value: None))
        before = sorted(tmp_path.iterdir()), out.read_bytes()
        outcome = run("simplify", wide, "-o", target, "--force", "--receipt", tmp_path / "r.json")
        assert (outcome.code, "another file by now" in outcome.err) == (3, True), outcome.err
        assert (sorted(tmp_path.iterdir()), out.read_bytes()) == before


def test_a_receipt_that_cannot_be_written_is_refused_before_any_work(run, wide, tmp_path):
    outcome = run("simplify", wide, "-o", tmp_path / "o.onnx", "--receipt", tmp_path / "gone" / "r.json")
    assert (outcome.code, "--receipt" in outcome.err) == (2, True)
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("option", ["-o", "--receipt"])
def test_a_file_without_a_name_is_refused_before_any_work(option, run, wide, tmp_path):
    """As a workflow passes an input that nobody gave."""
    out = {"-o": tmp_path / "o.onnx"} | {option: ""}
    outcome = run("simplify", wide, *(word for pair in out.items() for word in pair))
    assert (outcome.code, f"{option}: an empty name" in outcome.err) == (2, True), outcome.err


@pytest.mark.skipif(sys.platform == "win32", reason="pipes in folders")
@pytest.mark.parametrize("call", [["simplify"], ["inspect"], ["validate"]])
def test_what_is_no_file_is_refused_and_stays(call, run, wide, tmp_path):
    """A file would take the place of /dev/null, for whoever may do that."""
    os.mkfifo(tmp_path / "pipe")
    outcome = run(*call, wide, "-o", tmp_path / "pipe", "--force")
    assert (outcome.code, "a pipe, device or socket, expected a file" in outcome.err) == (2, True), outcome.err
    assert (tmp_path / "pipe").is_fifo()
    assert [entry.name for entry in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_what_names_an_open_file_is_refused_and_stays(run, wide, tmp_path):
    """As /dev/stdout does, whatever it is redirected to."""
    name = tmp_path / "stdout"
    with open(tmp_path / "file", "w", encoding="utf-8") as file:
        name.symlink_to(f"/proc/self/fd/{file.fileno()}")
        outcome = run("simplify", wide, "-o", tmp_path / "o.onnx", "--receipt", name)
    assert (outcome.code, "a pipe, device or socket, expected a file" in outcome.err) == (2, True), outcome.err
    assert name.is_symlink()
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("call", [["simplify", "", "-o", "{out}"], ["quantize", "{wide}", "-o", "{out}", "--data", ""]])
def test_an_empty_name_is_nothing_of_the_current_folder(call, run, wide, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run(*(word.format(wide=wide, out=tmp_path / "o.onnx") for word in call))
    assert (outcome.code, "an empty name" in outcome.err) == (2, True), outcome.err


@pytest.mark.parametrize(
    "call", [["inspect", "{cnn}"], ["validate", "{cnn}"], ["doctor"], ["evaluate", "{cnn}", "--data", "{evals}"]]
)
def test_a_model_card_of_a_command_without_a_result_is_refused(run, call, cnn, evals, tmp_path):
    card = tmp_path / "card.md"
    outcome = run(*(word.format(cnn=cnn, evals=evals) for word in call), "--model-card", card)
    assert (outcome.code, "--model-card: " in outcome.err) == (2, True), outcome.err
    assert not card.exists()


def test_a_model_card_of_a_command_that_judged_nothing_says_so(run, wide, tmp_path):
    card = tmp_path / "card.md"
    assert run("simplify", wide, "-o", tmp_path / "o.onnx", "--model-card", card).code == 0
    assert "Judged on: no data" in card.read_text()


DAMAGES = [
    ("latency", "ratio", None), ("latency", "interval", [1]), ("latency", "original", {}), ("settings", "threads", 0),
    ("settings", "seed", -1), ("settings", "dim", {"batch": "one"}), ("settings", "provider", "abacus"),
    ("settings", "part", 1),
    ("settings", "metric", "top9"), ("settings", "max_drop", "x"), ("data", "n", "1"), ("candidate", "files", {}),
    ("candidate", "path", "\0"), ("data", "source", "\0"), ("data", "source", "\ud800"),
    ("settings", "session_option", {"": "x"}), ("settings", "threads", 1000),
    ("settings", "preprocess", "resize=9"), ("settings", "for_ort", "newest"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "key", "value"), DAMAGES)
def test_a_damaged_receipt_ends_in_one_line(run, part, key, value, receipt_of_cnn, tmp_path):
    document = json.loads(receipt_of_cnn.read_text())
    (document[part] if part in document and part != "data" else document["receipt"][part])[key] = value
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(document))
    outcome = run("verify", "--receipt", path)
    assert outcome.code in (2, 3, 4), outcome.err
    assert len([line for line in outcome.err.splitlines() if line.startswith("error: ")]) == 1


@pytest.fixture(scope="module")
def receipt_of_cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verification of a network by itself."""
    from onnxslim_cli.main import main

    path, cnn = tmp_path_factory.mktemp("receipt") / "r.json", str(SAMPLES / "digits_cnn.onnx")
    assert main(["verify", cnn, "--against", cnn, "--data", str(SAMPLES / "digits_eval.npz"), "-o", str(path), "-q"]) == 0
    return path
