"""Which model of a folder stands for which of another, and what is told of the other files."""

from __future__ import annotations

import shutil

import pytest

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_folders.folder_comparison import (
    FolderComparison,
    MemberPair,
    compare_folders,
    find_served_sets,
    name_some,
)
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import open_model_folder
from tests.support.model_folders import EXIT_CODES, FOLDERS, make_folder


def copy(folder, name="copy"):
    return shutil.copytree(folder, folder.parent / name, symlinks=True)


@pytest.mark.parametrize("name", sorted(FOLDERS.keys() - EXIT_CODES.keys()))
def test_a_copy_is_the_same_in_every_layout(name, tmp_path):
    folder = make_folder(name, tmp_path)
    target = tmp_path / "copy"
    shutil.copytree(folder, target, symlinks=name != "hub_cache")
    found = compare_folders(open_model_folder(target), open_model_folder(folder))
    assert found.pairs
    assert all(pair.is_same and pair.original.path == pair.candidate.path for pair in found.pairs)
    assert (found.missing, found.changed, found.gone, found.new) == ((), (), (), ())


def test_what_differs_is_named_and_the_report_of_a_command_is_not(tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    (folder / "more.txt").write_text("1")
    other = copy(folder)
    (other / "notes.md").write_text("changed")
    (other / "more.txt").unlink()
    (other / "new.txt").touch()
    (other / "onnxslim.json").write_text("{}")
    shutil.copy(folder / "texts.onnx", other / "faces.onnx")
    found = compare_folders(open_model_folder(other), open_model_folder(folder))
    assert [(pair.candidate.path, pair.is_same) for pair in found.pairs] == [("faces.onnx", False), ("texts.onnx", True)]
    assert (found.changed, found.gone, found.new) == (("notes.md",), ("more.txt",), ("new.txt",))


def test_weights_beside_a_model_are_a_part_of_it(tmp_path):
    folder = make_folder("external_data", tmp_path)
    other = copy(folder)
    data = other / "onnx/model.onnx_data"
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    found = compare_folders(open_model_folder(other), open_model_folder(folder))
    assert [pair.is_same for pair in found.pairs] == [False]
    assert (found.changed, found.gone, found.new) == ((), (), ())


def test_another_precision_is_held_against_what_it_was_made_of(tmp_path):
    folder = make_folder("text_encoder", tmp_path)
    other = copy(folder)
    shutil.copy(other / "model.onnx", other / "model_int8.onnx")
    found = compare_folders(open_model_folder(other), open_model_folder(folder))
    assert [(pair.candidate.path, pair.original.path) for pair in found.pairs] == [
        ("model.onnx", "model.onnx"), ("model_int8.onnx", "model.onnx"),
    ]  # fmt: skip
    (other / "model.onnx").unlink()
    found = compare_folders(open_model_folder(other), open_model_folder(folder))
    assert [member.path for member in found.missing] == ["model.onnx"]  # a loader looks for it by name


def test_a_model_of_another_role_has_no_original_unless_it_is_named(tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    other = copy(folder)
    (other / "faces.onnx").rename(other / "people.onnx")
    originals = [
        compare_folders(open_model_folder(other), open_model_folder(folder), known).pairs[0].original
        for known in (None, {"people.onnx": "faces.onnx"})
    ]
    assert originals[0] is None
    assert originals[1].path == "faces.onnx"
    with pytest.raises(InvalidModelError, match="no model gone"):
        compare_folders(open_model_folder(other), open_model_folder(folder), {"people.onnx": "gone"})


def test_many_files_are_named_by_the_first():
    assert name_some(tuple("abcdefg")) == "a, b, c, d, e and 2 more"
    assert name_some(("a",)) == "a"


def test_what_serves_together_is_a_set_for_each_precision_and_none_of_what_is_as_it_was():
    def pair(candidate, original, same=False):
        return MemberPair(FolderModel(candidate, candidate), FolderModel(original, original), same)

    def find(*pairs):
        found = find_served_sets(FolderComparison(pairs, (), (), (), ()), ["e.onnx", "d.onnx"])
        return [[member.path for member in one.values()] for one in found]

    plain = [pair("e.onnx", "e.onnx", True), pair("d.onnx", "d.onnx", True)]
    assert find(*plain) == []
    assert find(pair("e.onnx", "e.onnx"), plain[1]) == [["e.onnx", "d.onnx"]]
    assert find(*plain, pair("e_int8.onnx", "e.onnx")) == [["e_int8.onnx", "d.onnx"]]
    variants = [pair(f"{part}_{kind}.onnx", f"{part}.onnx") for kind in ("fp16", "q4") for part in "ed"]
    assert find(*plain, *variants) == [["e_fp16.onnx", "d_fp16.onnx"], ["e_q4.onnx", "d_q4.onnx"]]
    assert find(pair("e.onnx", "e.onnx")) == []  # the decoder is not there
