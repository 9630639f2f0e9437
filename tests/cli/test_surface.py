"""What is public, what is packaged, and who else is called onnxslim."""

from __future__ import annotations

import importlib.metadata
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import onnxslim
from onnxslim_cli import name_clash
from tests.support.paths import ROOT


def python(code: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter, with ``path`` before everything installed."""
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=path or ROOT)


@pytest.mark.parametrize("name", [n for n in onnxslim.__all__ if n not in ("Result", "__version__")])
def test_a_public_name_is_a_function_with_a_docstring(name: str) -> None:
    function = getattr(onnxslim, name)
    assert isinstance(function, FunctionType)
    assert function.__doc__
    assert name in dir(onnxslim)


def test_no_package_has_the_name_of_a_function() -> None:
    names = {name for _, name, _ in pkgutil.iter_modules(onnxslim.__path__)}
    assert not names & set(onnxslim.__all__)


def test_importing_costs_nothing() -> None:
    code = "import sys, onnxslim; print([m for m in ('numpy', 'onnx', 'torch', 'matplotlib') if m in sys.modules])"
    assert python(code).stdout.strip() == "[]"


def test_the_command_line_needs_neither_torch_nor_matplotlib_to_start() -> None:
    code = (
        "import sys; from onnxslim_cli.main import main; code = main(['--version'])\n"
        "print([m for m in ('torch', 'matplotlib', 'pyarrow') if m in sys.modules])"
    )
    assert python(code).stdout.splitlines()[-1] == "[]"


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nope"):
        _ = onnxslim.nope


def test_every_package_is_installed() -> None:
    tomllib = pytest.importorskip("tomllib")
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert table["package-dir"]["onnxslim_cli"] == "cli"
    folders = {path.parent.relative_to(ROOT) for room in ("onnxslim", "cli") for path in (ROOT / room).rglob("__init__.py")}
    names = {".".join(folder.parts) for folder in folders}
    assert {f"onnxslim_{name}" if name.partition(".")[0] == "cli" else name for name in names} == set(table["packages"])


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
