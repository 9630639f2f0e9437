"""The report of a folder: sums of what was looked at, and bytes of everything."""

from __future__ import annotations

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
    document = describe_folder(folder, "simplify", outcomes, "out", 1000, 1).as_json()
    assert document["input"]["bytes"] == sum(map(len, read_tree(tmp_path / "two_unrelated").values()))
    assert document["input"]["params"] == facts.params
    assert document["output"] == {**document["output"], "path": "out", "bytes": 1000, "params": facts.params}
    assert document["warnings"] == ["faces.onnx: odd"]
    assert [(m["path"], m["fate"], m["why"]) for m in document["folder"]["models"]] == [
        ("faces.onnx", "compressed", None), ("texts.onnx", "kept", "because"),
    ]  # fmt: skip


def test_without_a_written_folder_there_is_no_output(tmp_path):
    folder = open_model_folder(make_folder("two_unrelated", tmp_path))
    assert describe_folder(folder, "simplify", [], None, 0, 0).as_json()["output"] is None
