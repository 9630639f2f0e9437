"""The fuzzer for ten seconds (``ONNXSLIM_FUZZ_SECONDS``), nightly for two minutes; skipped where there is no atheris."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason='the fuzzer needs atheris: pip install "onnxslim-toolkit[fuzz]"')

HERE = Path(__file__).resolve().parent
SECONDS = os.environ.get("ONNXSLIM_FUZZ_SECONDS", "10")


def fuzz(folder: Path, seconds: str, plant: str = "pass") -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import fuzz; {plant}; fuzz.main({seconds!r}, {str(folder)!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, errors="replace")


@pytest.mark.parametrize("seconds", [SECONDS, pytest.param("120", marks=pytest.mark.nightly)])
def test_no_bytes_end_in_anything_but_a_typed_error(tmp_path: Path, seconds: str) -> None:
    done = fuzz(tmp_path, seconds)
    assert done.returncode == 0, done.stderr[-3000:]
    executed = int(done.stderr.split("stat::number_of_executed_units:")[1].split()[0])
    assert executed > 500, "too few to mean anything"
    assert len(list((tmp_path / "corpus").iterdir())) > 20, "no input reached anything new, so nothing was guided"


def test_an_untyped_error_is_found(tmp_path: Path) -> None:
    planted = "fuzz.READERS = (*fuzz.READERS[:5], lambda data: {b'x': 1}[data[:1]])"
    done = fuzz(tmp_path, "20", planted)
    assert done.returncode != 0
    assert "KeyError" in done.stdout + done.stderr
