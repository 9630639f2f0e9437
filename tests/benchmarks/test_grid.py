"""The grid of threads and batches: a row a setting, and files that are made for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.paths import SAMPLES


@pytest.mark.nightly
def test_a_row_for_every_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import grid

    monkeypatch.setattr(grid, "THREADS", (1,))
    monkeypatch.setattr(grid, "_SECONDS", 0.05)
    monkeypatch.setattr(grid, "make_by_hand", lambda subject, out: shutil.copy(subject.model, out))
    data = [SAMPLES / "digits_calib.npz", SAMPLES / "digits_eval.npz"]
    rows = list(grid.measure(grid.Subject("digits", SAMPLES / "digits_cnn.onnx", *data, "dynamic"), tmp_path))
    assert [row.split(" | ")[1:3] for row in rows] == [["1", "1"], ["1", "8"]]
    assert {path.name for path in tmp_path.glob("*.onnx")} == {"digits.hand.onnx", "digits.1x1.onnx", "digits.1x8.onnx"}
