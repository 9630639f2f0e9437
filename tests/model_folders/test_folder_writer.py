"""A folder is written whole or not at all, and nobody else's is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.model_folders.folder_files import REPORT_NAME, list_folder
from onnxslim.model_folders.folder_writer import check_target, write_beside, write_folder
from tests.support.model_folders import make_folder, read_tree


def test_files_links_and_permissions_are_copied(tmp_path):
    folder = make_folder("links", tmp_path)
    (folder / "empty").mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    with write_folder(list_folder(folder), str(tmp_path / "out")) as writer:
        assert writer.copy_tree(set()) == (2, [])
    out = tmp_path / "out"
    assert read_tree(out) == read_tree(folder)
    assert (out / "current").readlink().as_posix() == "versions/v1"
    assert (out / "empty").is_dir()
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755


def interrupt(folder, out):
    with write_folder(list_folder(folder), str(out)) as writer:
        writer.copy_tree(set())
        raise KeyboardInterrupt


def test_after_a_failure_there_is_nothing_or_what_there_was(tmp_path):
    folder, out = make_folder("two_unrelated", tmp_path), tmp_path / "out"
    for _ in range(2):
        before = read_tree(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            interrupt(folder, out)
        assert read_tree(tmp_path) == before
        with write_folder(list_folder(folder), str(out)) as writer:
            writer.copy_tree({"notes.md"})
    assert {path.name for path in out.iterdir()} == {"faces.onnx", "texts.onnx"}


def test_links_to_what_is_left_out_are_left_out(tmp_path):
    folder = make_folder("links", tmp_path)
    with write_folder(list_folder(folder), str(tmp_path / "out")) as writer:
        assert writer.copy_tree({"versions/v1/model.onnx"}) == (0, ["latest.onnx"])


def test_only_a_folder_that_was_written_here_is_overwritten(tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    files, out = list_folder(folder), tmp_path / "out"
    check_target(files, str(out), force=False)
    out.mkdir()
    with pytest.raises(UsageError, match="exists already"):
        check_target(files, str(out), force=False)
    with pytest.raises(UsageError, match="not a folder that was written here"):
        check_target(files, str(out), force=True)
    (out / REPORT_NAME).write_text("{}")
    check_target(files, str(out), force=True)


@pytest.mark.parametrize("path", ["two_unrelated", "two_unrelated/out", ".", "gone/out"])
def test_a_folder_is_not_written_into_itself_or_nowhere(path, tmp_path):
    files = list_folder(make_folder("two_unrelated", tmp_path))
    with pytest.raises(UsageError, match="-o"):
        check_target(files, str(tmp_path / path), force=True)


@pytest.mark.parametrize("beside", [False, True])
def test_what_it_is_going_to_be_is_seen_before_it_is(beside, tmp_path):
    folder, out = make_folder("links", tmp_path), tmp_path / "out"
    files = list_folder(folder)
    with write_beside(files) if beside else write_folder(files, str(out)) as writer:
        Path(writer.place("versions/new.txt")).write_text("new")
        if not beside:
            writer.copy_tree({"latest.onnx"})
        seen = writer.list_result()
        digest = seen.digest()
    now = list_folder(folder if beside else out)
    assert (seen.root, seen.files, seen.links, set(seen.folders)) == (now.root, now.files, now.links, set(now.folders))
    assert digest == now.digest()
