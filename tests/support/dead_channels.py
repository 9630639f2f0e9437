"""Models with channels planted that can go, and their exact removal."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.channels.lossless.removal import remove_lossless
from onnxslim.core.step_report import StepReport
from onnxslim.runtime.session import Session
from tests.support.mask_oracle import PLAIN, distance, feeds


def weight(net: ir.Model, name: str) -> np.ndarray:
    """A copy of an initializer's array."""
    value = net.graph.initializers[name].const_value
    assert value is not None
    return value.numpy().copy()


def put(net: ir.Model, **arrays: np.ndarray) -> ir.Model:
    """``net`` with other arrays in some initializers."""
    for name, array in arrays.items():
        net.graph.initializers[name].const_value = ir.tensor(array.astype(np.float32), name=name)
    return net


def reduced(net: ir.Model, sizes: dict[str, int] | None = None) -> tuple[StepReport, ir.Model]:
    """Remove what can go from a copy, with the outputs compared on random inputs."""
    result = net.clone()
    report = remove_lossless(result)
    for seed in range(3):
        x = feeds(net, seed, sizes)
        for (name, a), b in zip(Session(net, PLAIN).run(x).items(), Session(result, PLAIN).run(x).values(), strict=True):
            assert a.shape == b.shape
            assert distance(a, b) <= 1e-5, name
    return report, result


def zero_rows(net: ir.Model, rows: list[int], bias: float | list[float] = 0.0, name: str = "w_in") -> ir.Model:
    """Make channels of the first Conv of ``convs`` constant."""
    w, b = weight(net, name), weight(net, "b_in")
    w[rows], b[rows] = 0, bias
    return put(net, **{name: w}, b_in=b)
