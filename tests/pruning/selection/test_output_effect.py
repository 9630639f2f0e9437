"""The effect of a change is the relative error of the outputs, from wherever the change begins."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.output_effect import OutputComparer
from onnxslim.pruning.step import prune
from onnxslim.runtime.session import Session, SessionConfig
from tests.support import nets, quantize_graphs


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


def make_early(finder: bool) -> ir.Model:
    """An output that is ready early, and one behind four more layers, as it is or as a list of what is above zero."""
    rng = np.random.default_rng(0)
    listed = "g = Greater(z, zero) i = NonZero(g) t = Transpose(i) y = GatherND(z, t)" if finder else "y = Identity(z)"
    shapes = {"w0": (8, 16), "w1": (16, 16), "w2": (16, 16), "w3": (16, 16), "head": (16, 4), "tail": (16, 4)}
    return quantize_graphs.model(
        f"""g (float[n,8] x) => (float[n,4] e, float y) <float zero = {{0}}> {{
          a = MatMul(x, w0) ar = Relu(a) e = MatMul(ar, head)
          b = MatMul(ar, w1) br = Relu(b) c = MatMul(br, w2) cr = Relu(c) d = MatMul(cr, w3) dr = Relu(d)
          z = MatMul(dr, tail) {listed}
        }}""".replace("float y", "float[k] y" if finder else "float[n,4] y"),
        **{name: (rng.normal(size=shape) / 3).astype(np.float32) for name, shape in shapes.items()},
    )


@pytest.mark.parametrize("finder", [False, True])
def test_an_output_that_is_ready_before_the_change_is_not_asked_for(finder: bool) -> None:
    model = make_early(finder)
    samples = open_samples({"x": np.random.default_rng(1).normal(size=(24, 8)).astype(np.float32)}, model)
    comparer, feed = OutputComparer(model, samples, SessionConfig()), next(iter(samples.batches(24)))
    before = Session(make_early(False)).run(feed)["y"]
    for name in ("w2", "w3", "tail"):
        candidate, after = model_file.clone(model), make_early(False)
        for each in (candidate, after):
            weight = each.graph.initializers[name]
            assert weight.const_value is not None
            weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1.1), name=name)
        first = next(i for i, node in enumerate(candidate.graph) if candidate.graph.initializers[name] in node.inputs)
        wanted = np.square(Session(after).run(feed)["y"] - before).sum() / np.square(before).sum()
        assert comparer.measure_effect(candidate, first) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("finder", [False, True])
def test_pruning_a_model_with_an_early_output_and_a_list(finder: bool) -> None:
    model = make_early(finder)
    samples = open_samples({"x": np.random.default_rng(1).normal(size=(48, 8)).astype(np.float32)}, model)
    _, report = prune(model, samples, PruneOptions(remove=0.2, of="params", round_to=1, min_layer_params=0))
    assert report.changed["units"]
