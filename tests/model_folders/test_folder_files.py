"""What lies in a folder, and configuration files that never lead outside of it."""

from __future__ import annotations

import os

import pytest

from onnxslim.core.errors import InvalidModelError, LimitError, UsageError
from onnxslim.model_folders import folder_files
from onnxslim.model_folders.folder_files import list_folder
from tests.support.model_folders import make_folder


def test_links_of_a_hubs_cache_are_files_and_others_are_links(tmp_path):
    cache = list_folder(make_folder("hub_cache", tmp_path))
    assert cache.files == ("config.json", "onnx/model.onnx", "onnx/model.onnx_data")
    assert not cache.links
    links = list_folder(make_folder("links", tmp_path))
    assert links.files == ("versions/v1/model.onnx",)
    assert links.links == {"current": "versions/v1", "latest.onnx": "versions/v1/model.onnx"}


def test_hidden_files_are_no_models(tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    for name in ("._faces.onnx", ".ipynb_checkpoints/faces-checkpoint.onnx"):  # of an archive from a Mac, of a notebook
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7")
    files = list_folder(folder)
    assert files.models == ("faces.onnx", "texts.onnx")
    assert {"._faces.onnx", ".ipynb_checkpoints/faces-checkpoint.onnx"} <= set(files.files)


def test_the_root_of_a_hubs_cache_is_told_from_its_snapshots(tmp_path):
    snapshot = make_folder("hub_cache", tmp_path).resolve()
    with pytest.raises(UsageError, match="a cache of the hub") as caught:
        list_folder(snapshot.parent.parent)
    assert str(snapshot.name) in str(caught.value.hint)


@pytest.mark.parametrize("target", ["/etc/hostname", "..", "nowhere"])
def test_a_link_that_leaves_the_folder_or_leads_nowhere_is_refused(target, tmp_path):
    folder = make_folder("two_unrelated", tmp_path)
    (folder / "link").symlink_to(target)
    with pytest.raises(InvalidModelError, match="link: a link that lea"):
        list_folder(folder)


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidModelError, match="a pipe"):
        list_folder(tmp_path)


@pytest.mark.parametrize("named", ["../x", "/x", "a/../../x", "..", "C:\\x", "\\x", "a\0b", None, 3])
def test_a_configuration_names_nothing_outside(named, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidModelError, match=r"config\.json: key"):
        list_folder(tmp_path).resolve(named, "config.json", "key")


def test_a_path_is_relative_to_the_configuration_that_names_it(tmp_path):
    files = list_folder(tmp_path)
    assert files.resolve("../b/c", "a/config.json", "key") == "b/c"
    assert files.resolve("./", "config.json", "key") == ""


def test_a_configuration_is_not_read_past_any_size(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{" + " " * 100 + "}")
    monkeypatch.setattr(folder_files, "MAX_CONFIG_BYTES", 50)
    with pytest.raises(LimitError, match="102 bytes"):
        list_folder(tmp_path).read_json("config.json")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        list_folder(tmp_path / "gone")
