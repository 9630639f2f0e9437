"""The report of a folder: sums of what was looked at, and bytes of everything."""

from __future__ import annotations

import pytest

from onnxslim.model_folders.folder_report import MemberOutcome, describe_folder
from onnxslim.model_folders.model_folder import open_model_folder
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result, compute_facts
from tests.support.model_folders import make_folder, read_tree


def test_figures_are_sums_and_what_was_kept_says_why(tmp_path):
    folder = open_model_folder(make_folder("two_unrelated", tmp_path))
    faces, texts = folder.members
    facts = compute_facts(model_file.load(folder.find(faces)), folder.find(faces))
    outcomes = [
        MemberOutcome(
            faces, "compressed", None, faces.path, Result("simplify", input=facts, output=facts, warnings=["odd"])
        ),
        MemberOutcome(texts, "kept", "because", texts.path),
    ]
    document = describe_folder(folder, "simplify", outcomes, "out", folder.files, 1).as_json()
    assert document["input"]["bytes"] == sum(map(len, read_tree(tmp_path / "two_unrelated").values()))
    assert document["input"]["params"] == facts.params
    assert document["output"] == {**document["output"], "path": "out", "params": facts.params}
    assert document["output"]["bytes"] == document["input"]["bytes"]
    assert document["output"]["sha256"] == document["input"]["sha256"]  # the same files
    assert document["warnings"] == ["faces.onnx: odd"]
    assert [(m["path"], m["fate"], m["why"]) for m in document["folder"]["models"]] == [
        ("faces.onnx", "compressed", None), ("texts.onnx", "kept", "because"),
    ]  # fmt: skip


def test_without_a_written_folder_there_is_no_output(tmp_path):
    folder = open_model_folder(make_folder("two_unrelated", tmp_path))
    assert describe_folder(folder, "simplify", []).as_json()["output"] is None


@pytest.mark.parametrize("change", ["notes.md", "faces.onnx", "new.txt"])
def test_the_digest_is_of_every_file(change, tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    before = describe_folder(open_model_folder(folder), "validate", []).input
    (folder / "onnxslim.json").write_text("{}")  # but for the report
    assert describe_folder(open_model_folder(folder), "validate", []).input == before
    with open(folder / change, "ab") as file:
        file.write(b"\x12\x04test")
    assert describe_folder(open_model_folder(folder), "validate", []).input.sha256 != before.sha256
