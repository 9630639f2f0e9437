"""Drafts: who holds one, who may remove it, and what a rename needs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from onnxslim.model_io import atomic_write


def left(folder: Path) -> list[str]:
    with atomic_write.claim_abandoned_drafts(str(folder)) as paths:
        return paths


def test_a_draft_becomes_the_file_or_nothing(tmp_path):
    with atomic_write.open_draft(str(tmp_path)) as new:
        new.write(b"whole")
        assert not (tmp_path / "file").exists()
        new.publish(str(tmp_path / "file"))
    with atomic_write.open_draft(str(tmp_path)) as new:
        new.write(b"half")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"whole")]


def test_a_system_that_writes_byte_by_byte_writes_all(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:1]))
    with atomic_write.open_draft(str(tmp_path)) as new:
        new.write(memoryview(b"all of it"))
        new.publish(str(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"all of it"


def test_only_what_nobody_writes_any_more_is_removed(tmp_path):
    alive, dead = atomic_write.Draft(str(tmp_path), None), atomic_write.Draft(str(tmp_path), None)
    dead.close()
    (tmp_path / "mine.tmp").touch()
    (tmp_path / ".onnxslim-link.tmp").symlink_to("mine.tmp")
    assert left(tmp_path) == [dead.path]
    assert sorted(os.listdir(tmp_path)) == sorted(["mine.tmp", ".onnxslim-link.tmp", os.path.basename(alive.path)])
    alive.discard()


def test_a_draft_that_was_tidied_away_before_its_lock_is_made_again(tmp_path, monkeypatch):
    """Whoever tidies up may see the new file first: it holds the lock, or it has removed the file."""
    real, tries = atomic_write.lock, []

    def late(descriptor: int) -> bool | None:
        tries.append(descriptor)
        if len(tries) == 1:
            return False
        if len(tries) == 2:
            for path in tmp_path.glob(".onnxslim-*.tmp"):
                path.unlink()
        return real(descriptor)

    monkeypatch.setattr(atomic_write, "lock", late)
    with atomic_write.open_draft(str(tmp_path)) as new:
        assert os.path.exists(new.path)
    assert len(tries) == 3


def test_where_there_are_no_locks_nothing_counts_as_abandoned(tmp_path, monkeypatch):
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic_write.fcntl, "flock", refuse)
    with atomic_write.open_draft(str(tmp_path)) as new:
        new.write(b"whole")
        new.publish(str(tmp_path / "file"))
    atomic_write.Draft(str(tmp_path), None).close()
    assert left(tmp_path) == []
