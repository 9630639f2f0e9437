"""NaN, infinities and tensors without elements inside a model whose outputs are in order: every step passes over them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session
from onnxslim.tools.sensitivity_analysis import sensitivity
from onnxslim.validation.evaluation import evaluate
from tests.support import quantize_graphs

ROWS, WIDTH = 6, 32
#: What stands between two layers, from ``h`` to ``k``, and lets something in that is not finite, or has no elements.
MIDDLES = {
    "a masked row's softmax, caught": "s = Where(m, h, low) p = Softmax(s) n = IsNaN(p) k = Where(n, zero, p)",
    "infinities joined and cut off again": (
        "i = ReduceMax<axes=[2]>(h) e = Add(i, low) j = Concat<axis=2>(h, e) f = Relu(j) k = Slice(f, from, to, last)"
    ),
    "a logarithm that nobody reads": "l = Log(h) n = IsInf(l) k = Where(n, h, l)",
    "a division by zero, clipped": "q = Div(one, h) k = Clip(q, zero, six)",
    "padding by -inf, cut off by a maximum": "p = Pad(h, pads, low) q = Max(p, zero) k = Slice(q, from, to, last)",
    "nothing beside something": "z = Slice(h, from, from, last) j = Concat<axis=2>(h, z) k = Relu(j)",
}  # fmt: skip


def make_model(middle: str) -> ir.Model:
    """Three linear layers with ``middle`` behind the first."""
    weights = {"w0": (WIDTH, WIDTH), "w1": (WIDTH, WIDTH), "w2": (WIDTH, 8)}
    rng = np.random.default_rng(3)
    return quantize_graphs.model(
        f"""g (float[n,{ROWS},{WIDTH}] x, bool[n,{ROWS},1] m) => (float[n,{ROWS},8] y)
        <float zero = {{0}}, float one = {{1}}, float six = {{6}}, int64[1] from = {{0}}, int64[1] to = {{{WIDTH}}},
         int64[1] last = {{2}}, int64[6] pads = {{0,0,0,0,0,1}}> {{
          g = MatMul(x, w0)
          h = Relu(g)
          {middle}
          b = MatMul(k, w1)
          c = Relu(b)
          y = MatMul(c, w2)
        }}""",
        low=np.array(-np.inf, np.float32),
        **{name: (rng.normal(size=shape) / 4).astype(np.float32) for name, shape in weights.items()},
    )


def make_samples(model: ir.Model, count: int = 32, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    mask = rng.random((count, ROWS, 1)) > 0.4
    return open_samples({"x": rng.normal(size=(count, ROWS, WIDTH)).astype(np.float32), "m": mask}, model)


@pytest.mark.parametrize("activations", ["static", "dynamic"])
@pytest.mark.parametrize("name", MIDDLES)
def test_quantisation_learns_from_what_is_finite(name: str, activations: str) -> None:
    model = make_model(MIDDLES[name])
    result, _ = quantize(
        model, make_samples(model), QuantizeOptions(placement="static", activations=activations, min_sqnr=10)
    )
    before, after, feeds = Session(model), Session(result), make_samples(model, 8, seed=1)
    noise = signal = 0.0
    for feed in feeds.batches(1):
        a, b = before.run(feed)["y"], after.run(feed)["y"]
        assert np.isfinite(a).all()
        assert np.isfinite(b).all()
        noise, signal = noise + np.square(a - b).sum(), signal + np.square(a).sum()
    assert signal > 4 * noise


@pytest.mark.parametrize("name", MIDDLES)
def test_pruning_repairs_by_what_is_finite(name: str) -> None:
    model = make_model(MIDDLES[name])
    samples = make_samples(model)
    result, report = prune(model, samples, PruneOptions(remove=0.1, of="params", round_to=1, min_layer_params=0))
    assert report.changed
    evaluation = evaluate(result, make_samples(model, 8, seed=1), reference=model, batch_size=1)
    assert evaluation.outputs["y"].sqnr_db > 3


@pytest.mark.parametrize("name", MIDDLES)
def test_layers_are_judged_by_what_is_finite(name: str) -> None:
    model = make_model(MIDDLES[name])
    assert sensitivity(model, make_samples(model)).int8


def make_detector() -> ir.Model:
    """A layer that sees every row, and one that sees those which are found: none in many samples."""
    rng = np.random.default_rng(5)
    return quantize_graphs.model(
        f"""g (float[n,t,{WIDTH}] x) => (float[k,8] y, float[n,t,{WIDTH}] z)
        <int64[1] last = {{-1}}, float limit = {{2.2}}> {{
          a = MatMul(x, w0)
          z = Relu(a)
          score = ReduceMax<axes=[2], keepdims=0>(z)
          found = Greater(score, limit)
          where = NonZero(found)
          index = Transpose<perm=[1,0]>(where)
          rows = GatherND(z, index)
          b = MatMul(rows, w1)
          c = Relu(b)
          y = MatMul(c, w2)
        }}""",
        **{
            name: (rng.normal(size=shape) / 5).astype(np.float32)
            for name, shape in {"w0": (WIDTH, WIDTH), "w1": (WIDTH, WIDTH), "w2": (WIDTH, 8)}.items()
        },
    )


def make_lists(model: ir.Model, count: int, seed: int) -> Samples:
    """Samples of 0 to 4 rows."""
    rng = np.random.default_rng(seed)
    return open_samples([{"x": rng.normal(size=(1, i % 5, WIDTH)).astype(np.float32)} for i in range(count)], model)


@pytest.mark.parametrize("activations", ["static", "dynamic"])
def test_samples_of_no_rows_and_samples_in_which_nothing_is_found_are_passed_over(activations: str) -> None:
    model = make_detector()
    found = [len(Session(model).run(feed)["y"]) for feed in make_lists(model, 40, 0).batches(1)]
    assert 0 in found[1::5]
    assert max(found) > 0
    options = QuantizeOptions(placement="static", activations=activations, min_sqnr=0)
    result, _ = quantize(model, make_lists(model, 40, 0), options)
    evaluation = evaluate(result, make_lists(model, 40, 1), reference=model, output="z")
    assert evaluation.outputs["z"].sqnr_db > 20


def test_pruning_repairs_by_the_samples_in_which_something_is_found() -> None:
    model = make_detector()
    result, report = prune(
        model, make_lists(model, 40, 0), PruneOptions(remove=0.1, of="params", round_to=1, min_layer_params=0)
    )
    assert report.changed
    Session(result).run({"x": np.zeros((1, 0, WIDTH), np.float32)})
