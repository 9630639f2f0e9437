"""An encoder and its decoder in one folder, as people compress them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnxruntime as ort
import pytest

from onnxslim.graph.editor import GraphEditor
from onnxslim.model_folders.pipelines import settlement
from onnxslim.model_io import model_file
from tests.support.decoders import make_decoder
from tests.support.model_folders import make_folder, save, write_texts
from tests.support.sounds import write_sounds

STATIC = ("--placement", "static")


def write_ids(path, count=40, *, seed=0):
    """Ids of eight words each, as an npz."""
    ids = np.random.default_rng(seed).integers(4, 64, (count, 8))
    np.savez(path, input_ids=ids, attention_mask=np.ones_like(ids))
    return path


@pytest.mark.parametrize(
    "name",
    ["encoder_decoder", pytest.param("encoder_and_merged_decoder", marks=pytest.mark.nightly),
     pytest.param("decoder_with_past", marks=pytest.mark.nightly)],
)  # fmt: skip
def test_decoders_are_fitted_on_what_the_encoder_makes_and_judged_with_it(name, run, tmp_path):
    folder, out, data = make_folder(name, tmp_path / "in"), tmp_path / "out", write_ids(tmp_path / "ids.npz")
    outcome = run("quantize", folder, "-o", out, "--data", data, "--max-drop", "20%", "--json", *STATIC)
    assert outcome.code == 0, outcome.err
    found = outcome.json["folder"]
    assert all(entry["report"]["metrics"] and "data are not for it" not in (entry["why"] or "") for entry in found["models"])
    (pipeline,) = found["pipelines"]
    assert pipeline["texts"] == 10
    (decoder,) = pipeline["decoders"]
    assert [metric["name"] for metric in decoder["metrics"] if metric["gates"]]
    assert next(metric for metric in decoder["metrics"] if metric["name"] == "tokens")["drop"] <= 0.2
    for path in out.rglob("*.onnx"):
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert json.loads((out / "onnxslim.json").read_text())["folder"]["pipelines"] == found["pipelines"]


def test_a_part_that_the_other_reads_wrongly_is_made_milder_and_told(run, tmp_path, monkeypatch):
    """All fails but what has a decoder whose weights alone are int8."""
    folder, data = make_folder("encoder_decoder", tmp_path / "in"), write_ids(tmp_path / "ids.npz")
    missed = iter([["all as it was"], ["a milder encoder"], []])
    monkeypatch.setattr(settlement, "find_gate_failures", lambda *_: next(missed, []))
    outcome = run("quantize", folder, "-o", tmp_path / "out", "--data", data, "--json", *STATIC)
    assert outcome.code == 0, outcome.err
    found = outcome.json["folder"]
    assert found["pipelines"][0]["stepped_down"] == [
        {"path": "decoder_model.onnx", "to": "int8 weights only", "why": "all as it was"}
    ]
    decoder, encoder = found["models"]
    assert "int8 weights only: as it was" in decoder["why"]
    assert encoder["why"] is None
    shown = run("quantize", folder, "-o", tmp_path / "out", "--data", data, "--force", "--max-drop", "50%", *STATIC)
    assert "encoder_model.onnx → decoder_model.onnx, judged together on 10 texts" in " ".join(shown.out.split())


def test_validate_feeds_decoders_too(run, tmp_path):
    folder, data = make_folder("encoder_decoder", tmp_path / "in"), write_ids(tmp_path / "ids.npz")
    outcome = run("validate", folder, "--data", data, "--json")
    assert outcome.code == 0, outcome.err
    assert [entry["why"] for entry in outcome.json["folder"]["models"]] == [None, None]


def test_each_encoder_of_a_folder_feeds_the_decoder_of_its_own_set(run, tmp_path):
    folder, data = tmp_path / "in", write_ids(tmp_path / "ids.npz")
    for name in ("small", "large"):
        shutil.move(make_folder("encoder_decoder", tmp_path), folder / name)
    outcome = run("validate", folder, "--data", data, "--json")
    assert outcome.code == 0, outcome.err
    models = outcome.json["folder"]["models"]
    assert [(entry["path"], entry["why"]) for entry in models] == [
        (f"{name}/{part}_model.onnx", None) for name in ("large", "small") for part in ("decoder", "encoder")
    ]


@pytest.mark.nightly
@pytest.mark.parametrize("suffix", [None, "slim"])
def test_two_sets_are_judged_each_by_itself_and_the_receipt_repeats_it(suffix, run, tmp_path):
    folder, out, data = tmp_path / "in", tmp_path / "out", write_ids(tmp_path / "ids.npz", 200)
    for name in ("small", "large"):
        shutil.move(make_folder("encoder_decoder", tmp_path), folder / name)
    where = ["-o", out] if suffix is None else ["--suffix", suffix]
    outcome = run("quantize", folder, *where, "--data", data, "--json", "--receipt", tmp_path / "r.json", *STATIC)
    assert outcome.code == 0, outcome.err
    judged = outcome.json["folder"]["pipelines"]
    assert [one["encoder"] for one in judged] == ["large/encoder_model.onnx", "small/encoder_model.onnx"]
    found = json.loads((tmp_path / "r.json").read_text())
    checks = [check for check in found["verification"]["checks"] if " with " in check["name"]]
    end = "" if suffix is None else f"_{suffix}"
    assert {check["model"] for check in checks} == {f"{name}/decoder_model{end}.onnx" for name in ("small", "large")}
    again = run("verify", "--receipt", tmp_path / "r.json", "--data", data, "--json")
    assert again.json["receipt"]["verdict"] == found["receipt"]["verdict"]
    repeated = [check for check in again.json["verification"]["checks"] if " with " in check["name"]]
    assert [check["verdict"] for check in repeated] == [check["verdict"] for check in checks]
    assert [check["value"] for check in repeated] == pytest.approx([check["value"] for check in checks], abs=1e-6)


def test_a_configuration_that_contradicts_the_decoder_ends_it(run, tmp_path):
    folder, data = make_folder("encoder_decoder", tmp_path / "in"), write_ids(tmp_path / "ids.npz")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"decoder_start_token_id": 50257}))
    outcome = run("quantize", folder, "-o", tmp_path / "out", "--data", data, *STATIC)
    assert (outcome.code, "looks up one of 64 rows" in outcome.err) == (3, True), outcome.err
    assert not (tmp_path / "out").exists()


def test_what_does_not_serve_together_is_told_and_the_decoder_simplified_only(run, tmp_path):
    """A decoder that was exported for four of the encoder's places, which no dimension of an input tells."""
    folder, data = make_folder("encoder_decoder", tmp_path / "in"), write_ids(tmp_path / "ids.npz")
    decoder = model_file.load(folder / "decoder_model.onnx")
    editor = GraphEditor(decoder.graph)
    (states,) = (value for value in decoder.graph.inputs if value.name == "encoder_hidden_states")
    readers = list(states.uses())
    sizes = editor.add_initializer("sizes", np.array([1, 4, states.shape[-1]]))
    fixed = editor.add_node("Reshape", states, sizes, name="four_places", before=decoder.graph[0], dtype=states.dtype)
    for use in readers:
        use.node.replace_input_with(use.idx, fixed)
    save(decoder, folder / "decoder_model.onnx")
    outcome = run("quantize", folder, "-o", tmp_path / "out", "--data", data, "--json", *STATIC)
    assert outcome.code == 0, outcome.err
    decoder, encoder = outcome.json["folder"]["models"]
    assert "simplified only: encoder_model.onnx and the decoder do not run together: " in decoder["why"]
    assert (encoder["fate"], encoder["why"]) == ("compressed", None)


@pytest.mark.nightly
def test_texts_are_enough(run, tmp_path):
    pytest.importorskip("tokenizers")
    folder, data = make_folder("encoder_and_merged_decoder", tmp_path / "in"), write_texts(tmp_path / "texts.txt")
    outcome = run("optimize", folder, "-o", tmp_path / "out", "--data", data, "--budget", "30s", "--json")
    assert outcome.code == 0, outcome.err
    metrics = {metric["name"]: metric for metric in outcome.json["folder"]["pipelines"][0]["decoders"][0]["metrics"]}
    assert metrics["tokens"]["drop"] <= 0.01
    assert metrics["agreement"]["drop"] <= 0.02


@pytest.mark.nightly
def test_speech_is_enough(run, tmp_path):
    folder = make_folder("speech_encoder", tmp_path / "in")
    save(make_decoder(merged=True, cross=True), folder / "onnx/decoder_model_merged.onnx")
    arguments = ("--data", write_sounds(tmp_path / "speech", 16), "--max-drop", "20%", "--json", *STATIC)
    outcome = run("quantize", folder, "-o", tmp_path / "out", *arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.json["folder"]["pipelines"][0]["texts"] == 4


def test_sounds_without_a_decoder_are_no_pipeline(run, tmp_path):
    folder = make_folder("speech_encoder", tmp_path / "in")
    outcome = run("validate", folder, "--data", write_sounds(tmp_path / "speech", 4), "--json")
    assert (outcome.code, outcome.json["folder"]["pipelines"]) == (0, []), outcome.err


def test_a_decoder_whose_encoder_is_not_clear_is_told_by_every_command(run, tmp_path):
    parts, folder, out = make_folder("encoder_decoder", tmp_path / "parts"), tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a_encoder", "b_encoder", "decoder_model"):
        part = "decoder_model" if name == "decoder_model" else "encoder_model"
        shutil.copy(parts / f"{part}.onnx", folder / f"{name}.onnx")
    told = "decoder_model.onnx: its encoder could be a_encoder.onnx or b_encoder.onnx: it is judged by itself"
    assert told in run("simplify", folder, "-o", out).out.replace("\n", " ")
    assert any(told in line for line in json.loads((out / "onnxslim.json").read_text())["warnings"])
    for call in (["validate", folder], ["verify", folder, "--against", folder]):
        assert any(told in line for line in run(*call, "--json").json["warnings"]) == (call[0] == "validate")
