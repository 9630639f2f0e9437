"""Commands whose IN is a folder, as people call them."""

from __future__ import annotations

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from onnxslim.core import attempts
from onnxslim_cli import folder_command
from tests.support.folder_models import PIXELS
from tests.support.model_folders import make_folder, read_tree, write_texts
from tests.support.paths import SAMPLES
from tests.support.pictures import picture
from tests.support.sounds import write_sounds

STATIC = ("--placement", "static")


@pytest.fixture
def images(tmp_path):
    path = tmp_path / "images.npz"
    np.savez(path, pixel_values=np.random.default_rng(0).standard_normal((48, 3, PIXELS, PIXELS)).astype(np.float32))
    return path


def test_a_search_of_a_folder_ends_with_one_report(run, images, tmp_path):
    folder, out = make_folder("image_classifier", tmp_path / "in"), tmp_path / "out"
    outcome = run(
        "optimize", folder, "-o", out, "--data", images, "--budget", "20s", "--json", "--study", tmp_path / "study"
    )
    assert outcome.code == 0, outcome.err
    document = outcome.json
    (entry,) = document["folder"]["models"]
    assert (entry["path"], entry["role"], document["folder"]["layout"]) == ("model.onnx", "model", "Hugging Face")
    assert entry["report"]["metrics"]
    assert document["output"]["bytes"] == sum(
        len(content) for path, content in read_tree(out).items() if path != "onnxslim.json"
    )
    assert (tmp_path / "study/model.onnx").is_dir()


def test_a_process_that_goes_on_gives_each_model_the_time_that_it_had(tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(attempts, "time", clock)
    monkeypatch.setattr(attempts, "_supervision", attempts.Supervision(str(tmp_path)))

    def give(left):
        return folder_command._share({"budget": 100.0}, SimpleNamespace(path="model.onnx"), 0.0, left)["budget"]

    now = 10.0
    assert give(3) == 30.0
    now = 70.0  # another process begins with the first again
    assert [give(3), give(2)] == [30.0, 15.0]


def test_a_dry_run_plans_and_writes_nothing(run, images, tmp_path):
    folder = make_folder("transformers_js", tmp_path / "in")
    before = read_tree(tmp_path)
    outcome = run("quantize", folder, "-o", tmp_path / "out", "--data", images, "--dry-run")
    assert outcome.code == 0
    plan = yaml.safe_load(outcome.out)
    assert plan["layout"] == "Hugging Face"
    assert [("kept" in model) for model in plan["models"]] == [False, True, True, True]
    assert [next(iter(step)) if isinstance(step, dict) else step for step in plan["recipe"]["steps"]][-1] == "quantize"
    assert read_tree(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no output named"),
        (["-o", "{in}"], "within"),
        (["-o", "{tmp}/gone/out"], "there is no folder"),
    ],
)
def test_calls_that_cannot_end_well_do_not_begin(arguments, words, run, tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    before = read_tree(tmp_path)
    outcome = run("simplify", folder, *(a.format(**{"in": folder, "tmp": tmp_path}) for a in arguments))
    assert (outcome.code, words in outcome.err) == (2, True), outcome.err
    assert read_tree(tmp_path) == before


def test_a_gate_that_one_model_misses_ends_the_whole_and_names_it(run, images, tmp_path):
    folder, out = make_folder("image_classifier", tmp_path / "in"), tmp_path / "out"
    outcome = run(
        "optimize", folder, "-o", out, "--data", images, "--recipe", "int8", "--max-size", "1kB", "--json", *STATIC
    )
    assert outcome.code == 5
    assert "model.onnx" in outcome.json["error"]["message"]
    assert not out.exists()


def test_search_of_a_folder_needs_data(run, tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    outcome = run("optimize", folder, "-o", tmp_path / "out")
    assert (outcome.code, "no data given" in outcome.err) == (2, True)


def test_statistics_are_those_of_one_model(run, images, tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    outcome = run("quantize", folder, "-o", tmp_path / "out", "--data", images, "--statistics", tmp_path / "s.npz")
    assert (outcome.code, "--statistics" in outcome.err) == (2, True)


def test_commands_that_take_one_model_say_so(run, tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    for command in ("prune", "profile"):
        outcome = run(command, folder)
        assert (outcome.code, "a folder, expected an ONNX file" in outcome.err) == (2, True)


def test_a_file_and_a_suffix_have_one_destination(run, tmp_path):
    folder = make_folder("text_encoder", tmp_path)
    outcome = run("simplify", folder / "model.onnx", "--suffix", "x", "-o", tmp_path / "y.onnx")
    assert (outcome.code, "both say where" in outcome.err) == (2, True)


def test_a_suffix_and_a_folder_write_a_copy_with_both_and_overwrite_nobodys(run, tmp_path):
    folder, out = make_folder("text_encoder", tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "mine").touch()
    for options in ((), ("--force",)):
        assert run("simplify", folder, "-o", out, "--suffix", "int8", *options).code == 2
    assert [path.name for path in out.iterdir()] == ["mine"]
    assert run("simplify", folder, "-o", tmp_path / "new", "--suffix", "int8").code == 0
    before, after = read_tree(folder), read_tree(tmp_path / "new")
    assert after.keys() - before.keys() == {"model_int8.onnx", "onnxslim.json"}
    assert {path: after[path] for path in before} == before


def test_a_report_of_a_folder_is_its_table(run, tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    report = tmp_path / "report.md"
    assert run("simplify", folder, "-o", tmp_path / "out", "--report", report).code == 0
    assert "faces.onnx" in report.read_text()
    assert json.loads((tmp_path / "out/onnxslim.json").read_text())["command"] == "simplify"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("sentence_transformers", lambda folder: write_texts(folder / "sentences.txt")),
        ("reranker", lambda folder: write_pairs(folder / "pairs.jsonl")),
        ("image_classifier", lambda folder: write_pictures(folder / "photos")),
        ("detector", lambda folder: write_pictures(folder / "photos")),
        ("merged_decoder", lambda folder: write_texts(folder / "texts.txt", 12)),
    ],
)
def test_the_folder_says_how_raw_data_become_inputs(name, write, run, tmp_path):
    if write.__code__.co_names[0] != "write_pictures":
        pytest.importorskip("tokenizers")
    folder, data = make_folder(name, tmp_path / "in"), write(tmp_path)
    outcome = run("validate", folder, "--data", data, "--json")
    assert outcome.code == 0, outcome.err
    (entry,) = outcome.json["folder"]["models"]
    assert entry["why"] is None
    assert entry["report"]["judged"]["kinds"]


def test_what_each_model_lost_is_told_as_everywhere(run, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(SAMPLES / "digits_wide.onnx", folder)
    outcome = run("quantize", folder, "-o", tmp_path / "out", "--data", SAMPLES / "digits_calib.npz", *STATIC)
    assert outcome.code == 0, outcome.err
    assert re.search(r"Expected top-1 (0|[−+]\d+)\.\d+ points", outcome.out), outcome.out


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["sentence_transformers", "encoder_decoder", "speech_encoder"])
def test_raw_data_compress_what_they_are_for(name, run, tmp_path):
    pytest.importorskip("tokenizers")
    folder, out = make_folder(name, tmp_path / "in"), tmp_path / "out"
    data = write_sounds(tmp_path / "speech") if name == "speech_encoder" else write_texts(tmp_path / "s.txt")
    outcome = run("quantize", folder, "-o", out, "--data", data, "--json", *STATIC)
    assert outcome.code == 0, outcome.err
    entries = outcome.json["folder"]["models"]  # a decoder reads what the encoder makes of the texts
    assert len(entries) == (2 if name == "encoder_decoder" else 1)
    assert all(entry["report"]["metrics"] for entry in entries)


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda folder, data: (folder / "tokenizer.json").unlink(), 2, "no tokenizer.json"),
        (lambda folder, data: data.write_bytes("größe\n".encode("latin1")), 3, "line 1 is not UTF-8"),
        (lambda folder, data: (folder / "tokenizer.json").write_text("{}"), 3, "tokenizer.json: not a tokenizer"),
    ],
)
def test_what_keeps_texts_from_becoming_ids_is_named_and_nothing_is_written(change, code, words, run, tmp_path):
    pytest.importorskip("tokenizers")
    folder, data = make_folder("text_encoder", tmp_path / "in"), write_texts(tmp_path / "s.txt")
    change(folder, data)
    outcome = run("quantize", folder, "-o", tmp_path / "out", "--data", data)
    assert (outcome.code, words in outcome.err) == (code, True), outcome.err
    assert not (tmp_path / "out").exists()


def test_inspect_says_what_each_file_is_for(run, tmp_path):
    outcome = run("inspect", make_folder("transformers_js", tmp_path))
    assert outcome.code == 0
    assert "onnx/model_fp16.onnx: model_fp16, another precision of onnx/model.onnx" in outcome.out
    assert "tokenizer.json" in outcome.out


def test_validate_looks_at_every_file_and_names_a_broken_one(run, tmp_path):
    outcome = run("validate", make_folder("triton", tmp_path), "--json")
    assert [model["fate"] for model in outcome.json["folder"]["models"]] == ["valid", "valid"]
    outcome = run("validate", make_folder("broken", tmp_path))
    assert (outcome.code, "bad.onnx" in outcome.err) == (3, True)


def write_pairs(path):
    lines = [{"query": f"word{i} word{i + 1}", "document": f"word{i + 2}"} for i in range(24)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def write_pictures(folder):
    for value in range(0, 240, 20):
        picture(folder / f"{value}.png", value, (30, 20 + value // 20))
    return folder
