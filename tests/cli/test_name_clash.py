"""Another package of this name is found and named."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from onnxslim_cli import name_clash
from tests.support.python import python


def test_another_package_of_this_name_is_found_and_named(tmp_path: Path) -> None:
    (tmp_path / "onnxslim").mkdir()
    (tmp_path / "onnxslim" / "__init__.py").write_text("__version__ = '0.1.98'\ndef slim(model): ...\n")
    done = python("import sys; from onnxslim_cli.main import main; sys.exit(main(['doctor']))", path=tmp_path)
    assert done.returncode == 4
    assert str(tmp_path) in done.stderr
    assert "pip uninstall" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_half_of_another_package_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxslim").mkdir()
    (tmp_path / "onnxslim" / "__init__.py").write_text("from onnxslim.core import slim\n")
    info = tmp_path / "onnxslim-0.1.98.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxslim\nVersion: 0.1.98\n")
    done = python("import sys; from onnxslim_cli.main import main; sys.exit(main([]))", path=tmp_path)
    assert done.returncode == 4
    assert "0.1.98" in done.stderr


def test_both_installed_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_clash.find_clash() is None
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1.98")
    found = name_clash.find_clash()
    assert found is not None
    assert not found.fatal
    assert "0.1.98" in found.message
