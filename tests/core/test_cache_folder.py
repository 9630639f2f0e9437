"""The cache is the user's, where the system says it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim.core.cache_folder import get_cache_folder


def test_the_system_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert get_cache_folder() == tmp_path / "onnxslim"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_cache_folder() == tmp_path / ".cache" / "onnxslim"
