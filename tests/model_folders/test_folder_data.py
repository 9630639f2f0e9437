"""Which data are for which model."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import InvalidDataError
from onnxslim.model_folders.folder_data import MemberData, assign_data
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.pipeline.data_options import DataOptions, OpenedData

A, B = FolderModel("onnx/a.onnx", "a"), FolderModel("b.onnx", "b")


def refuse(member, source):
    raise InvalidDataError(f"{source} does not fit {member.role}")


def take(member, source):
    return source


def test_without_data_there_are_none():
    assert assign_data([A, B], None, None, refuse) == {"onnx/a.onnx": MemberData(None), "b.onnx": MemberData(None)}


def test_the_data_of_the_only_model_are_not_tried():
    assert assign_data([A], "d.npz", "e.npz", refuse) == {"onnx/a.onnx": MemberData("d.npz", "e.npz")}


def test_files_of_their_names_are_for_each(tmp_path):
    (tmp_path / "onnx").mkdir()
    for name in ("onnx/a.npz", "b.jsonl"):
        (tmp_path / name).touch()
    found = assign_data([A, B], str(tmp_path), None, take)
    assert {path: one.data for path, one in found.items()} == {
        "onnx/a.onnx": str(tmp_path / "onnx/a.npz"), "b.onnx": str(tmp_path / "b.jsonl"),
    }  # fmt: skip
    (tmp_path / "b.jsonl").unlink()
    assert "no data called b" in str(assign_data([A, B], str(tmp_path), None, take)["b.onnx"].why)


def test_who_the_data_do_not_fit_is_told_and_nobody_is_an_error():
    def only_a(member, source):
        if member is B:
            refuse(member, source)
        return source

    found = assign_data([A, B], "d.npz", None, only_a)
    assert found["onnx/a.onnx"] == MemberData("d.npz")
    assert found["b.onnx"] == MemberData(None, None, "the data are not for it: d.npz does not fit b")
    with pytest.raises(InvalidDataError, match="does not fit a"):
        assign_data([A, B], "d.npz", None, refuse)


def test_data_are_opened_once_for_each_and_handed_on():
    asked = []

    def open_it(member, source):
        asked.append((member, source))
        return OpenedData(source, samples=None, read=DataOptions(), seed=0)

    found = assign_data([A, B], "d.npz", "e.npz", open_it)
    assert asked == [(A, "d.npz"), (A, "e.npz"), (B, "d.npz"), (B, "e.npz")]
    assert [(one.data.source, one.eval_data.source) for one in found.values()] == [("d.npz", "e.npz")] * 2
