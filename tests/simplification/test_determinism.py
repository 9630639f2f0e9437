"""The bytes do not depend on who asks: not on the hash seed, the number of threads or the version of Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from tests.support.onnx_text import build, floats
from tests.support.paths import ROOT

#: Interpreters that have the library's dependencies, besides this one: paths, separated as PATH is.
OTHERS = [path for path in os.environ.get("ONNXSLIM_PYTHONS", "").split(os.pathsep) if path]

#: What there is to get wrong: weights folded into others, sums of many terms, merged twins, names that clash, branches.
TEXT = """(float[N,3,16,16] x) => (float[N,6] y, float[N,8,14,14] z) {
    a = Conv (x, w1, b1)
    n = BatchNormalization (a, scale, shift, mean, variance)
    r = Relu (n)
    half = Constant <value = float {0.5}> ()
    other = Constant <value = float {0.5}> ()
    s = Mul (r, half)
    t = Mul (s, other)
    u = Mul (r, half)
    z = Add (t, u)
    g = GlobalAveragePool (z)
    shape = Shape (g)
    zero = Constant <value = int64[1] {0}> ()
    batch = Gather (shape, zero)
    rest = Constant <value = int64[1] {-1}> ()
    target = Concat <axis = 0> (batch, rest)
    f = Reshape (g, target)
    left = Transpose (w2)
    m = MatMul (f, left)
    y = Add (m, b2)
}"""


def tangled() -> ir.Model:
    channel = {"scale": floats(8), "shift": floats(8, seed=1), "mean": floats(8, seed=2)}
    variance = np.linspace(0.5, 2, 8, dtype=np.float32)
    weights = {"w1": floats(8, 3, 3, 3), "b1": floats(8, seed=3), "w2": floats(6, 8, seed=4), "b2": floats(6, seed=5)}
    return build(TEXT, **weights, **channel, variance=variance)


def digest(python: str, path: Path, **environment: str) -> str:
    code = (
        "import hashlib, sys\nfrom onnxslim.model_io import model_file\nfrom onnxslim.simplification.step import simplify\n"
        "result, report = simplify(sys.argv[1])\n"
        "print(hashlib.sha256(model_file.to_bytes(result)).hexdigest(), report.changed, report.skipped)"
    )
    root = str(ROOT)
    done = subprocess.run(
        [python, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root, **environment},
    )
    return done.stdout


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tangled") / "model.onnx"
    model_file.save(tangled(), path)
    return path


@pytest.fixture(scope="module")
def expected(model: Path) -> str:
    found = digest(sys.executable, model, PYTHONHASHSEED="0", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    assert "conv+batchnorm" in found
    assert "constants joined" in found or "conv+scale" in found
    return found


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1"},
        {"PYTHONHASHSEED": "31337", "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"},
    ],
    ids=["hash seed", "hash seed and threads"],
)
def test_the_bytes_are_the_same_in_another_process(model: Path, expected: str, environment: dict[str, str]) -> None:
    assert digest(sys.executable, model, **environment) == expected


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("python", OTHERS or [None])
def test_the_bytes_are_the_same_on_another_python(model: Path, expected: str, python: str | None, zoo: Path) -> None:
    if python is None:
        pytest.skip("ONNXSLIM_PYTHONS names no other interpreters")
    assert digest(python, model) == expected
    for path in sorted(zoo.glob("*.onnx")):
        assert digest(python, path) == digest(sys.executable, path), path.name
