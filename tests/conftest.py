"""What every test may ask for: the sample models and their data, and the zoo of real models, where there is one."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import onnx_ir as ir
import pytest
from hypothesis import settings

from onnxslim.model_io import model_file
from onnxslim.runtime.devices import choose
from onnxslim.tools import benchmarking
from tests.support.paths import ROOT, SAMPLES
from tests.support.quantize_graphs import restart_draws

# How long an example takes says how busy the machine is. A change is judged by the same examples each time, so that what
# fails is the change; the nightly run draws new ones.
settings.register_profile("repeated", deadline=None, derandomize=True)
settings.register_profile("new", deadline=None)


def pytest_configure(config: pytest.Config) -> None:
    """Draw new examples where the nightly tests were asked for, else those of every run."""
    settings.load_profile("new" if config.option.markexpr == "nightly" else "repeated")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's cache, which no test writes to."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    yield folder
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture(scope="session")
def zoo() -> Path:
    """The folder of real models (``$ONNXSLIM_ZOO``, else ``../shared/zoo``); the test is skipped where it is absent."""
    folder = Path(os.environ.get("ONNXSLIM_ZOO", ROOT.parent / "shared" / "zoo"))
    if not (folder / "mobilenet_v2.onnx").exists():
        pytest.skip(f"no zoo of real models at {folder} (set ONNXSLIM_ZOO)")
    return folder


@pytest.fixture(scope="session")
def zoo_data(zoo: Path) -> ModuleType:
    """The zoo's reader: ``images(name, start, stop)`` and ``LABELLED``."""
    spec = importlib.util.spec_from_file_location("zoo_load", zoo / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def samples() -> Path:
    """The folder of sample models and their data."""
    return SAMPLES


@pytest.fixture
def cnn() -> str:
    """A small convolutional network, already simple."""
    return str(SAMPLES / "digits_cnn.onnx")


@pytest.fixture
def wide() -> str:
    """A network with BatchNormalization and shape arithmetic left in, so there is something to simplify."""
    return str(SAMPLES / "digits_wide.onnx")


@pytest.fixture
def calib() -> str:
    """Data to fit on."""
    return str(SAMPLES / "digits_calib.npz")


@pytest.fixture
def evals() -> str:
    """Data to judge by."""
    return str(SAMPLES / "digits_eval.npz")


@pytest.fixture(scope="module")
def digits() -> ir.Model:
    """The small convolutional network, as it is loaded."""
    return model_file.load(SAMPLES / "digits_cnn.onnx")


@pytest.fixture(scope="session", autouse=True)
def short_turns() -> Iterator[None]:
    """Turns of a fifth of their length, where sessions are timed: what tests ask of times is far apart, or made up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "_TURN_SECONDS", 0.004)
        patch.setattr(benchmarking, "_THROUGHPUT_SECONDS", 0.1)
        yield


@pytest.fixture(autouse=True)
def same_draws_in_any_order() -> None:
    """What a test draws does not depend on which tests ran before it."""
    restart_draws()
