"""The effect of a change is the relative error of the outputs, from wherever the change begins."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.pruning.selection.output_effect import OutputComparer
from onnxslim.runtime.session import Session, SessionConfig
from tests.support import nets


def changed(model: ir.Model, factor: float, position: int) -> tuple[ir.Model, int]:
    """``model`` with the weight of the layer at ``position`` or behind it scaled, and where that layer is."""
    copy = model_file.clone(model)
    nodes = list(copy.graph)
    first = next(i for i, node in enumerate(nodes) if i >= position and node.op_type in ("Conv", "Gemm"))
    weight = nodes[first].inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(factor), name=weight.name)
    return copy, first


def output(model: ir.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(next(iter(Session(model).run({"x": x}).values())))


def test_effects_are_those_of_whole_runs() -> None:
    model = nets.mlp()
    samples = nets.samples(model, 24)
    x = next(iter(samples.batches(24)))["x"]
    original = output(model, x)
    comparer = OutputComparer(model, samples, SessionConfig())
    for position, factor in ((0, 1.0), (0, 1.5), (2, 0.9), (4, 1.1)):
        candidate, first = changed(model, factor, position)
        wanted = np.square(output(candidate, x) - original).sum() / np.square(original).sum()
        assert comparer.measure_effect(candidate, first) == pytest.approx(wanted, rel=1e-4, abs=1e-12)


def test_outputs_that_are_not_finite_are_infinitely_far() -> None:
    model = nets.mlp()
    comparer = OutputComparer(model, nets.samples(model, 8), SessionConfig())
    assert comparer.measure_effect(*changed(model, np.nan, 0)) == np.inf
