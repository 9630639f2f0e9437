"""What is public, what is packaged, and who else is called onnxslim."""

from __future__ import annotations

import pkgutil
from types import FunctionType

import pytest

import onnxslim
from tests.support.paths import ROOT
from tests.support.python import python


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


def test_who_only_looks_at_a_model_waits_for_no_step_and_no_statistics() -> None:
    code = (
        "import sys, onnxslim_cli.app, onnxslim_cli.commands.inspect\n"
        "heavy = ('scipy.stats', 'scipy.sparse', 'scipy.optimize', 'onnxslim.pruning.step', 'onnxslim.quantization.step')\n"
        "print([m for m in heavy if m in sys.modules])"
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
