"""Every fixture folder through the command line: it ends as expected, and what was not compressed is byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from onnxslim.model_folders import naming
from onnxslim.model_folders.folder_files import REPORT_NAME
from onnxslim.model_folders.folder_run import _join_settled, compress_folder
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import DataGroup, open_model_folder
from onnxslim.model_io import model_file
from onnxslim.pipeline.result import Result, compute_facts
from onnxslim_cli.main import main
from tests.support.model_folders import EXIT_CODES, FOLDERS, make_folder, read_tree


def load_all(folder: Path) -> list[str]:
    """Open every ONNX file of ``folder`` in the runtime; their paths."""
    paths = sorted(path for path in folder.rglob("*.onnx") if path.is_file())
    for path in paths:
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [str(path.relative_to(folder)) for path in paths]


#: What another folder shows as well: the same layout, or the same way of storing data.
LIKE_ANOTHER = {
    "reranker", "image_classifier", "detector", "speech_encoder", "merged_decoder", "external_data", "decoder_with_past",
    "encoder_and_merged_decoder",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in FOLDERS if name not in LIKE_ANOTHER])
def test_a_folder_is_simplified_whole_or_not_at_all(name, tmp_path, capsys):
    check_simplified(name, tmp_path, capsys)


@pytest.mark.nightly
def test_every_folder_ends_as_expected(tmp_path, capsys):
    for number, name in enumerate(FOLDERS, 1):
        (tmp_path / name).mkdir()
        check_simplified(name, tmp_path / name, capsys)
        with capsys.disabled():
            print(f"\n{number} of {len(FOLDERS)} folders end as expected: {name}", end="")


def check_simplified(name, tmp_path, capsys):
    """That the folder ``name`` ends with its exit code, whole and as loaders find it, or not there."""
    folder, out = make_folder(name, tmp_path / "in"), tmp_path / "out"
    before = read_tree(folder)
    code = main(["simplify", str(folder), "-o", str(out)])
    assert code == EXIT_CODES.get(name, 0), capsys.readouterr().err
    assert read_tree(folder) == before
    if code:
        assert not out.exists()
        assert not any(path.name.startswith(".onnxslim") for path in tmp_path.iterdir())
        assert str(folder) in capsys.readouterr().err.replace(str(folder.resolve()), str(folder))
        return
    after = read_tree(out)
    assert after.keys() - {REPORT_NAME} == before.keys()
    models = {path for path in before if path.endswith(".onnx")}
    report = json.loads(after[REPORT_NAME])
    entries = {entry["path"]: entry for entry in report["folder"]["models"]}
    touched = {path for path, entry in entries.items() if entry["fate"] == "compressed"}
    data = {path for path in before if path.endswith(("data", ".bin"))}
    linked = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_symlink()}
    assert entries.keys() <= models
    for path in before.keys() - touched - data - linked:
        assert after[path] == before[path] or path.startswith("current"), path
    parts = sum(entries[path]["report"]["output"]["bytes"] for path in touched)
    rest = sum(len(content) for path, content in after.items() if path not in touched | data | {REPORT_NAME})
    assert sum(map(len, after.values())) - len(after[REPORT_NAME]) <= parts + rest
    assert load_all(out) == sorted(models - {path for path in models if path.startswith("current")})


def test_models_that_share_data_go_on_sharing_it(tmp_path):
    folder, out = make_folder("shared_data", tmp_path / "in"), tmp_path / "out"
    assert main(["simplify", str(folder), "-o", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {"a.onnx", "b.onnx", "weights.bin", REPORT_NAME}
    assert (out / "weights.bin").stat().st_size <= (folder / "weights.bin").stat().st_size
    feeds = {"input_ids": np.arange(12).reshape(2, 6), "attention_mask": np.ones((2, 6), np.int64)}
    for name in ("a.onnx", "b.onnx"):
        given, made = (ort.InferenceSession(str(place / name)).run(None, feeds) for place in (folder, out))
        for a, b in zip(given, made, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_suffix_writes_beside_the_originals_and_leaves_them_alone(tmp_path):
    folder = make_folder("transformers_js", tmp_path)
    before = read_tree(folder)
    assert main(["simplify", str(folder), "--suffix", "int8"]) == 0
    after = read_tree(folder)
    assert after.keys() - before.keys() == {"onnx/model_int8.onnx"}
    assert {path: after[path] for path in before} == before
    assert main(["simplify", str(folder), "--suffix", "int8"]) == 2
    assert main(["simplify", str(folder), "--suffix", "int8", "--force"]) == 0


def test_a_suffix_gives_external_data_the_name_that_loaders_look_for(tmp_path):
    folder = make_folder("external_data", tmp_path)
    before = read_tree(folder)
    assert main(["simplify", str(folder), "--suffix", "int8"]) == 0
    assert read_tree(folder).keys() - before.keys() == {"onnx/model_int8.onnx", "onnx/model_int8.onnx_data"}
    load_all(folder)


@pytest.mark.parametrize("name", ["text_encoder", "hub_cache", "links"])
def test_sizes_are_those_of_the_files_before_and_after_each_once(name, tmp_path, capsys):
    folder, out = make_folder(name, tmp_path / "in"), tmp_path / "out"
    before = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not in_folder_linked(path, folder))
    assert main(["simplify", str(folder), "-o", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["input"]["bytes"] == before
    after = [path for path in out.rglob("*") if path.is_file() and not path.is_symlink() and path.name != REPORT_NAME]
    assert report["output"]["bytes"] == sum(path.stat().st_size for path in after)
    assert main(["simplify", str(folder), "--suffix", "int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["input"]["bytes"] == before


def in_folder_linked(path: Path, folder: Path) -> bool:
    """Whether ``path`` is a link, or behind one, to what is in the folder itself."""
    return path.resolve() != path.absolute() and path.resolve().is_relative_to(folder.resolve())


def test_groups_of_models_that_are_settled_together_are_written_together(tmp_path):
    members = {name: FolderModel(f"{name}.onnx", name) for name in "abcde"}
    groups = [DataGroup(tuple(members[name] for name in names), ()) for names in ("a", "bc", "d", "e")]

    def join(*settled):
        found = _join_settled(groups, [SimpleNamespace(members=[members[name] for name in names]) for names in settled])
        return ["".join(one.role for group in part for one in group.members) for part in found]

    assert join() == ["a", "bc", "d", "e"]
    assert join("ad") == ["ad", "bc", "e"]
    assert join("ad", "e") == ["ad", "e", "bc"]
    assert join("ab", "cd") == ["abcd", "e"]  # b and c share their data


def test_a_suffix_is_of_no_file_where_nothing_was_gained(tmp_path):
    folder = open_model_folder(make_folder("two_unrelated", tmp_path))

    def work(member, path):
        model = model_file.load(path)
        return Result(
            "simplify", model=model, input=compute_facts(model, path), is_original=member.path == "faces.onnx"
        ), None

    outcome = compress_folder(folder, "simplify", work, out=None, suffix="x")
    assert [(one["fate"], one["written"]) for one in outcome.extra["folder"]["models"]] == [
        ("original", "faces.onnx"), ("compressed", "texts_x.onnx"),
    ]  # fmt: skip
    assert {path.name for path in (tmp_path / "two_unrelated").glob("*_x.onnx")} == {"texts_x.onnx"}


def test_what_a_suffix_made_is_no_original_the_next_time(tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    assert main(["simplify", str(folder), "--suffix", "mine"]) == 0
    assert main(["simplify", str(folder), "--suffix", "mine", "--force"]) == 0
    assert {path.name for path in folder.glob("*.onnx")} == {
        "faces.onnx",
        "faces_mine.onnx",
        "texts.onnx",
        "texts_mine.onnx",
    }


def test_a_file_takes_a_suffix_too(tmp_path):
    folder = make_folder("text_encoder", tmp_path)
    assert main(["simplify", str(folder / "model.onnx"), "--suffix", "slim"]) == 0
    assert (folder / "model_slim.onnx").exists()


def test_what_is_overwritten_keeps_no_data_of_its_own(tmp_path, capsys):
    folder = make_folder("shared_data", tmp_path)
    assert main(["simplify", str(folder), "--suffix", "int8"]) == 0
    once = read_tree(folder).keys()
    capsys.readouterr()
    assert main(["simplify", str(folder), "--suffix", "int8", "--force", "--json"]) == 0
    assert read_tree(folder).keys() == once
    models = json.loads(capsys.readouterr().out)["folder"]["models"]
    assert [(one["path"], one["fate"]) for one in models] == [("a.onnx", "compressed"), ("b.onnx", "compressed")]
    load_all(folder)


@pytest.mark.parametrize("suffix", ["", "../x", "a/b", ".hidden"])
def test_a_suffix_is_part_of_a_name(suffix, tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    before = read_tree(folder)
    assert main(["simplify", str(folder), "--suffix", suffix]) == 2
    assert read_tree(folder) == before


def test_the_data_of_each_model_are_the_file_of_its_name(tmp_path):
    folder, data, out = make_folder("two_unrelated", tmp_path / "in"), tmp_path / "data", tmp_path / "out"
    data.mkdir()
    rng = np.random.default_rng(0)
    np.savez(data / "faces.npz", pixel_values=rng.standard_normal((24, 3, 16, 16)).astype(np.float32))
    ids = rng.integers(0, 60, (24, 7))
    np.savez(data / "texts.npz", input_ids=ids, attention_mask=np.ones_like(ids))
    assert main(["quantize", str(folder), "-o", str(out), "--data", str(data), "--placement", "static"]) == 0
    report = json.loads((out / REPORT_NAME).read_text())
    assert [entry["report"]["data"]["fit"] is not None for entry in report["folder"]["models"]] == [True, True]


def test_a_model_that_the_data_are_not_for_is_simplified_and_told_so(tmp_path, capsys):
    folder, out = make_folder("two_unrelated", tmp_path / "in"), tmp_path / "out"
    np.savez(tmp_path / "d.npz", pixel_values=np.random.default_rng(0).standard_normal((24, 3, 16, 16)).astype(np.float32))
    arguments = ["quantize", str(folder), "-o", str(out), "--data", str(tmp_path / "d.npz"), "--placement", "static"]
    assert main(arguments) == 0
    assert "texts.onnx: simplified only: the data are not for it" in capsys.readouterr().out
    np.savez(tmp_path / "none.npz", other=np.zeros((24, 3), np.float32))
    assert main(["quantize", str(folder), "-o", str(out) + "2", "--data", str(tmp_path / "none.npz")]) == 3
    assert not Path(str(out) + "2").exists()


def test_names_with_a_suffix_stay_in_their_folder():
    assert naming.add_suffix("onnx/model.onnx", "int8") == "onnx/model_int8.onnx"
