"""Figures are kept for the machine that they were measured on."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim.tools import measured_costs
from onnxslim.tools.measured_costs import get_path, keep_costs, read_costs


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_what_was_kept_is_read_on_the_same_machine_and_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_costs() == {}
    path = keep_costs({"ConvInteger": 1.5})
    assert path == get_path()
    assert read_costs() == {"ConvInteger": 1.5}
    monkeypatch.setattr(measured_costs, "version", lambda: "0.0.1")
    assert read_costs() == {}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"machine": 1, "costs": []}', "\udcff"])
def test_a_broken_file_is_no_file(cache: Path, content: str) -> None:
    get_path().parent.mkdir()
    get_path().write_text(content, encoding="utf-8", errors="surrogateescape")
    assert read_costs() == {}


def test_a_cache_that_cannot_be_written_keeps_nothing(cache: Path) -> None:
    (cache / "onnxslim").write_text("a file")
    assert keep_costs({"ConvInteger": 1.5}) is None
    assert read_costs() == {}
