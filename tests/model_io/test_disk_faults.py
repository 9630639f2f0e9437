"""Whatever stops a save, the file is the old model or the new one, and the next save leaves no trace of the fault."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DRIVER = Path(__file__).resolve().parents[1] / "support" / "disk_faults.py"
OLD, NEW, NEXT = 1.0, 2.0, 3.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: three hundred saves are flushed to the disk otherwise."""
    memory = Path("/dev/shm")
    root = memory / f"onnxslim-faults-{os.getpid()}" if os.access(memory, os.W_OK) else tmp_path
    root.mkdir(exist_ok=True)
    yield root
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[list[str]]:
    """A file system of 112 kB, room for one model of 64 kB; only root may make one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=112k", "tmpfs", str(disk)], capture_output=True)
    yield [str(disk)] if made.returncode == 0 else []
    if made.returncode == 0:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("kind", ["external", "inline"])
def test_every_fault_leaves_the_old_model_or_the_new_one(kind, folder, small_disk):
    command = [sys.executable, str(DRIVER), str(folder), kind, *small_disk]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert len(told) >= 50
    for one in told:
        assert one["held"] == NEW or (one["held"] == OLD and one["code"] != 0), one
        assert one["next"]["held"] == NEXT, one
        assert len(one["next"]["files"]) == (2 if kind == "external" else 1), one
    assert {one["code"] for one in told} == {0, 2, 6, 130, -9, -15}
    full = [one for one in told if one["fault"] == "a full disk"]
    assert [one["code"] for one in full] == [6] * len(small_disk)
    assert [one["held"] for one in full] == [OLD] * len(small_disk)
