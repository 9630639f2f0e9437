"""``verify`` of folders, and the receipts of commands that write one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.verification import examination
from onnxslim_cli.folder_verification import FolderCertifier
from tests.support.model_folders import make_folder, read_tree, write_texts
from tests.support.paths import SAMPLES


@pytest.fixture(autouse=True)
def short_timing(monkeypatch):
    monkeypatch.setattr(examination, "MAX_TIMING_SECONDS", 0.05)


@pytest.fixture
def folder(tmp_path):
    """Two models of digits and their notes."""
    path = tmp_path / "in"
    path.mkdir()
    for name in ("digits_wide", "digits_cnn"):
        shutil.copy(SAMPLES / f"{name}.onnx", path)
    (path / "notes.md").write_text("digits\n")
    return path


@pytest.fixture
def evals(tmp_path):
    """Few samples."""
    arrays = np.load(SAMPLES / "digits_eval.npz")
    np.savez(tmp_path / "few.npz", image=arrays["image"][:60], labels=arrays["labels"][:60])
    return tmp_path / "few.npz"


def touch(model: Path) -> None:
    """Another name of its maker: other bytes, the same answers."""
    model.write_bytes(model.read_bytes() + b"\x12\x04test")


@pytest.fixture
def slim(folder):
    """A folder with one model that is not as it was."""
    out = shutil.copytree(folder, folder.parent / "out")
    touch(out / "digits_wide.onnx")
    return out


def spoil(model: Path) -> None:
    """Half of the signs of its weights turned."""
    loaded = onnx.load(model)
    for tensor in loaded.graph.initializer:
        weights = onnx.numpy_helper.to_array(tensor).copy()
        if weights.dtype == np.float32 and weights.ndim > 1:
            weights.reshape(-1)[::2] *= -1
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
    onnx.save(loaded, model)


def test_a_folder_that_lost_nothing_passes_and_its_receipt_repeats_it(run, folder, slim, evals, tmp_path):
    receipt = tmp_path / "r.json"
    outcome = run("verify", slim, "--against", folder, "--data", evals, "--max-drop", "20%", "-o", receipt)
    assert outcome.code == 0, outcome.err
    document = json.loads(receipt.read_text())
    assert document["verification"]["verdict"] == document["receipt"]["verdict"] == "pass"
    assert {"digits_wide.onnx", None} <= {check["model"] for check in document["verification"]["checks"]}
    assert set(document["receipt"]["original"]["files"]) == {"digits_wide.onnx", "digits_cnn.onnx", "notes.md"}
    moved = shutil.move(slim, tmp_path / "moved")
    again = run("verify", moved, "--receipt", receipt, "--json")
    assert again.code == 0, again.err
    assert again.json["receipt"]["verdict"] == "pass"


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda out: (out / "notes.md").write_text("other"), 5, "changed: notes.md"),
        (lambda out: (out / "notes.md").unlink(), 5, "missing: notes.md"),
        (lambda out: (out / "new.md").touch(), 0, "new: new.md"),
        (lambda out: (out / "digits_wide.onnx").unlink(), 5, "missing: digits_wide.onnx (digits_wide)"),
        (lambda out: (out / "digits_cnn.onnx").rename(out / "c.onnx"), 5, "c.onnx: the original has no model of its role"),
        (lambda out: spoil(out / "digits_wide.onnx"), 5, "digits_wide.onnx: drop of"),
    ],
)
def test_what_is_wrong_with_a_folder_is_named(change, code, says, run, folder, slim, evals):
    change(slim)
    outcome = run("verify", slim, "--against", folder, "--data", evals, "--max-drop", "20%")
    assert (outcome.code, says in outcome.out + outcome.err) == (code, True), outcome.out + outcome.err


def test_models_that_are_the_same_need_no_data_and_others_do(run, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert run("verify", copy, "--against", folder).code == 0
    touch(copy / "digits_cnn.onnx")
    outcome = run("verify", copy, "--against", folder)
    assert (outcome.code, "digits_cnn.onnx is not as its original" in outcome.err) == (2, True)
    outcome = run("verify", copy, "--against", folder, "--data", "random")
    assert (outcome.code, "prove nothing" in outcome.err) == (2, True)


def test_a_file_and_a_folder_are_not_compared(run, folder, cnn, evals):
    for call in ((folder, "--against", cnn), (cnn, "--against", folder)):
        outcome = run("verify", *call, "--data", evals)
        assert (outcome.code, "is a folder and" in outcome.err) == (2, True)


def test_another_file_than_the_receipts_is_refused_by_name(run, folder, slim, evals, tmp_path):
    receipt = tmp_path / "r.json"
    assert run("verify", slim, "--against", folder, "--data", evals, "--max-drop", "20%", "-o", receipt).code == 0
    for path, place in ((slim / "notes.md", slim), (folder / "digits_cnn.onnx", folder)):
        before = path.read_bytes()
        path.write_bytes(before + b"\x12\x04test")
        outcome = run("verify", "--receipt", receipt)
        assert (outcome.code, f"{place / path.name}: not the file" in outcome.err) == (3, True), outcome.err
        path.write_bytes(before)
    document = json.loads(receipt.read_text())
    document["receipt"]["models"]["digits_wide.onnx"]["original"] = "../outside.onnx"
    receipt.write_text(json.dumps(document))
    outcome = run("verify", "--receipt", receipt)
    assert (outcome.code, "../outside.onnx" in outcome.err) == (3, True)


def test_a_dry_run_says_how_many_samples_each_model_takes(run, folder, slim, evals):
    outcome = run("verify", slim, "--against", folder, "--data", evals, "--dry-run")
    assert outcome.code == 0
    assert "digits_wide.onnx: about" in outcome.out


@pytest.mark.parametrize("beside", [False, True])
def test_what_a_command_made_of_a_folder_is_verified_and_repeats(beside, run, folder, tmp_path):
    out, receipt, junit = tmp_path / "out", tmp_path / "r.json", tmp_path / "j.xml"
    where = ["--suffix", "slim"] if beside else ["-o", out]
    outcome = run("simplify", folder, *where, "--data", SAMPLES / "digits_eval.npz", "--receipt", receipt, "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(receipt.read_text())
    assert document == outcome.json
    found = document["receipt"]
    assert found["verdict"] == "pass", document["verification"]
    name = "digits_wide_slim.onnx" if beside else "digits_wide.onnx"
    assert found["models"][name]["original"] == "digits_wide.onnx"
    assert {name, "notes.md"} <= set(found["candidate"]["files"])
    again = run("verify", "--receipt", receipt, "--junit", junit)
    assert again.code == 0, again.err
    assert f'classname="{name}"' in junit.read_text()


@pytest.mark.parametrize("beside", [False, True])
def test_what_cannot_be_verified_is_not_written(beside, run, folder, tmp_path, monkeypatch):
    def refuse(result, files):
        assert files.digest()
        raise InvalidModelError("another file by now")

    monkeypatch.setattr(FolderCertifier, "certify_folder", lambda self, result, files: refuse(result, files))
    where = ["--suffix", "slim"] if beside else ["-o", tmp_path / "out"]
    before = read_tree(tmp_path)
    outcome = run("simplify", folder, *where, "--receipt", tmp_path / "r.json")
    assert (outcome.code, "another file by now" in outcome.err) == (3, True), outcome.err
    assert read_tree(tmp_path) == before


def test_models_without_data_that_fit_cannot_be_told_of(run, folder, tmp_path):
    outcome = run("simplify", folder, "-o", tmp_path / "out", "--receipt", tmp_path / "r.json")
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "r.json").read_text())["receipt"]["verdict"] == "cannot tell"
    outcome = run("verify", "--receipt", tmp_path / "r.json")
    assert (outcome.code, "there are no data to judge on" in outcome.err) == (7, True), outcome.err


def test_a_model_card_of_a_folder_tells_of_each_model(run, folder, tmp_path):
    card = tmp_path / "card.md"
    assert run("simplify", folder, "-o", tmp_path / "out", "--model-card", card).code == 0
    assert "### digits&#95;wide.onnx" in card.read_text() or "### digits_wide.onnx" in card.read_text()


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda out: touch(out / "decoder_model.onnx"), 0, "decoder_model.onnx: tokens drops by 0 %"),
        (lambda out: spoil(out / "encoder_model.onnx"), 5, "decoder_model.onnx: drop of agreement with encoder_model.onnx"),
        (lambda out: break_states(out / "encoder_model.onnx"), 5, "encoder_model.onnx: run: they do not run together"),
    ],
)
def test_encoder_and_decoder_are_judged_together_too(change, code, says, run, tmp_path):
    """Whichever of them is not as it was."""
    folder, receipt = make_folder("encoder_decoder", tmp_path), tmp_path / "r.json"
    out, data = shutil.copytree(folder, tmp_path / "out"), write_ids(tmp_path / "ids.npz")
    change(out)
    outcome = run("verify", out, "--against", folder, "--data", data, "-o", receipt)
    assert (outcome.code, says in outcome.out + outcome.err) == (code, True), outcome.out + outcome.err
    document = json.loads(receipt.read_text())
    (pipeline,) = document["folder"]["pipelines"]
    assert pipeline["texts"] == 12
    assert (len(pipeline["decoders"]) == 1) == ("run together" not in says)
    again = run("verify", "--receipt", receipt, "--data", data, "--json")
    assert again.code == code
    checks = [check for check in again.json["verification"]["checks"] if check["name"] != "receipt"]
    assert checks == document["verification"]["checks"]


def write_ids(path: Path, count: int = 12) -> Path:
    """Ids of eight words each."""
    ids = np.random.default_rng(0).integers(4, 64, (count, 8))
    np.savez(path, input_ids=ids, attention_mask=np.ones_like(ids))
    return path


def break_states(model: Path) -> None:
    """The states in halves of their width, which no decoder reads and no shape of the model says."""
    loaded = onnx.load(model)
    (states,) = (output for output in loaded.graph.output if output.name == "last_hidden_state")
    for node in loaded.graph.node:
        node.output[:] = [f"{name}_whole" if name == states.name else name for name in node.output]
        node.input[:] = [f"{name}_whole" if name == states.name else name for name in node.input]
    size = onnx.numpy_helper.from_array(np.array([0, -1, states.type.tensor_type.shape.dim[2].dim_value // 2]), "halves")
    loaded.graph.initializer.append(size)
    loaded.graph.node.append(onnx.helper.make_node("Reshape", [f"{states.name}_whole", "halves"], [states.name]))
    states.type.tensor_type.shape.dim[2].dim_param = "width"
    onnx.save(loaded, model)


@pytest.mark.nightly
def test_a_decoder_is_judged_on_what_its_encoder_makes_and_repeats_on_that(run, tmp_path):
    pytest.importorskip("tokenizers")
    folder, data, receipt = make_folder("encoder_decoder", tmp_path), write_texts(tmp_path / "s.txt"), tmp_path / "r.json"
    call = ["--data", data, "--placement", "static", "--receipt", receipt]
    assert run("quantize", folder, "-o", tmp_path / "out", *call).code == 0
    found = json.loads(receipt.read_text())["receipt"]
    again = run("verify", "--receipt", receipt, "--json")
    assert again.json["receipt"]["verdict"] == found["verdict"]
    assert (
        again.json["receipt"]["models"]["decoder_model.onnx"]["samples_used"]
        == (found["models"]["decoder_model.onnx"]["samples_used"])
    )


def test_a_decoder_whose_encoder_stays_as_it_was_repeats_on_the_same_part_of_the_data(run, tmp_path):
    folder, data = make_folder("encoder_decoder", tmp_path), write_ids(tmp_path / "ids.npz", 40)
    receipt, stored = tmp_path / "r.json", tmp_path / "stored.onnx"
    assert run("quantize", folder / "encoder_model.onnx", "-o", stored, "--weights", "int8:qdq").code == 0
    shutil.move(stored, folder / "encoder_model.onnx")  # quantised already, so that nothing is done with it
    call = ["quantize", folder, "-o", tmp_path / "out", "--weights", "int8:qdq", "--data", data, "--receipt", receipt]
    assert run(*call, "--placement", "static").code == 0
    document = json.loads(receipt.read_text())
    found = document["receipt"]
    assert found["models"].keys() == {"decoder_model.onnx"}
    assert found["models"]["decoder_model.onnx"]["data"]["n"] == 10
    part = {"share": 0.25, "seed": 0, "is_held": True}
    assert found["encoders"] == {"encoder_model.onnx": {"source": str(data), "part": part}}
    again = run("verify", "--receipt", receipt, "--json")
    assert again.code == {"pass": 0, "fail": 5, "cannot tell": 7}[found["verdict"]], again.err
    assert again.json["receipt"] == found
    moved = shutil.move(data, tmp_path / "moved.npz")
    assert run("verify", "--receipt", receipt, "--data", moved, "--json").json["verification"] == again.json["verification"]
    del document["receipt"]["encoders"]  # as receipts before had none
    receipt.write_text(json.dumps(document))
    outcome = run("verify", "--receipt", receipt)
    assert (outcome.code, "does not say where those of decoder_model.onnx are" in outcome.err) == (2, True)
