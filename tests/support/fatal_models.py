"""Models that end the installed runtime's process when it optimises or runs them, or that it refuses; asked, not assumed."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.model_io import model_file
from tests.support.quantize_graphs import model

#: float16, a Transpose of the first axis into a MatMul's matrices: (perm, dims of x), which onnxruntime 1.32 dies of.
FATAL_PERMS = (((1, 0, 2), (2, 5, 16)), ((1, 2, 0), (16, 2, 5)), ((1, 2, 0, 3), (2, 3, 5, 16)))


def transposed_product(perm: tuple[int, ...], dims: tuple[int, ...]) -> ir.Model:
    """float16 x, transposed by ``perm``, times a constant."""
    sides = ",".join(map(str, dims))
    inner = dims[perm[-1]]
    return model(
        f"""g (float16[{sides}] x) => (float16[{",".join(str(dims[p]) for p in perm[:-1])},8] y) {{
          t = Transpose<perm=[{",".join(map(str, perm))}]>(x)
          y = MatMul(t, w)
        }}""",
        w=np.ones((inner, 8), np.float16),
    )


def refused_when_optimized() -> ir.Model:
    """Valid, and runs unoptimised; the optimiser of 1.32 takes a Cast away that it still needs."""
    return model(
        """g (float[n,4] x) => (float[n,4] y) {
          r = Relu(x)
          mid = Cast<to=1>(r)
          o = Div(one, k)
          y = Mul(o, mid)
        }""",
        one=np.float32(1).reshape(()),
        k=np.float32(1).reshape(()),
    )


@functools.cache
def default_session_outcome(content: bytes) -> int:
    """The return code of a process that makes a default session of a model: 0, 1 where it is refused, or a signal's."""
    script = "import onnxruntime as o, sys; o.set_default_logger_severity(4); o.InferenceSession(sys.argv[1])"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        return subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=False).returncode


def dies(made: ir.Model) -> bool:
    """Whether the installed runtime does."""
    return default_session_outcome(model_file.to_bytes(made)) < 0


def divided_by_an_input() -> bytes:
    """x in windows of n numbers: onnxruntime 1.32 divides by n and does not look whether that is 0."""
    return onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,16,1] x, int64 n) => (float[a,b,c,d] y) {
          one = Constant<value: tensor = int64 {1}>()
          y = STFT(x, one, , n)
        }"""
    ).SerializeToString()


def run_outcome(content: bytes, feeds: Mapping[str, np.ndarray]) -> int:
    """The return code of a process that runs a model once: 0, 1 where it is refused, or a signal's."""
    script = (
        "import numpy, onnxruntime as o, sys; o.set_default_logger_severity(4); "
        "o.InferenceSession(sys.argv[1]).run(None, dict(numpy.load(sys.argv[2])))"
    )
    with tempfile.TemporaryDirectory() as folder:
        path, data = Path(folder) / "model.onnx", Path(folder) / "feeds.npz"
        path.write_bytes(content)
        np.savez(data, **feeds)
        return subprocess.run(
            [sys.executable, "-c", script, str(path), str(data)], capture_output=True, check=False
        ).returncode
