"""Drafts of folders: published whole, removed when abandoned, left alone while their writer lives."""

from __future__ import annotations

import os

import pytest

from onnxslim.model_folders.folder_draft import FolderDraft, open_folder_draft, remove_abandoned


def test_a_draft_is_there_when_it_is_published_and_gone_when_not(tmp_path):
    with open_folder_draft(str(tmp_path)) as draft:
        (tmp_path / draft.path / "file").write_text("x")
        draft.publish(str(tmp_path / "out"))
    with pytest.raises(RuntimeError), open_folder_draft(str(tmp_path)) as draft:
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out/file").read_text() == "x"
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o777 & ~mask


def test_what_was_there_is_replaced_and_back_where_that_fails(tmp_path, monkeypatch):
    old = tmp_path / "out"
    old.mkdir()
    (old / "old").touch()
    rename = os.rename

    def fail(source, target):
        if target == str(old) and "out" not in os.path.basename(source) and (tmp_path / source / "new").exists():
            raise OSError(28, "full")
        rename(source, target)

    with open_folder_draft(str(tmp_path)) as draft:
        open(os.path.join(draft.path, "new"), "w").close()
        monkeypatch.setattr(os, "rename", fail)
        with pytest.raises(OSError, match="full"):
            draft.publish(str(old))
        assert [path.name for path in old.iterdir()] == ["old"]
        monkeypatch.setattr(os, "rename", rename)
        draft.publish(str(old))
    assert [path.name for path in old.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_abandoned_drafts_are_removed_and_living_ones_are_not(tmp_path):
    living, dead = FolderDraft(str(tmp_path)), FolderDraft(str(tmp_path))
    os.close(dead._descriptor)  # as when its process ends
    dead._descriptor = None
    remove_abandoned(str(tmp_path))
    assert os.path.isdir(living.path)
    assert not os.path.exists(dead.path)
    living.discard()
    assert not os.path.exists(living.path)
