"""Whether a model bears being rounded differently."""

from __future__ import annotations

import numpy as np

from onnxslim.simplification.rounding_check import measure_difference
from onnxslim.simplification.step import simplify
from tests.support.equality import run
from tests.support.onnx_text import build, feeds, floats


def test_a_network_on_the_tail_of_its_sigmoid_keeps_its_bits() -> None:
    """Rounded differently, a logit of -14 gives outputs that differ by percents; so the exact form is kept."""
    text = """(float[N,3,9,9] x) => (float[N,8,7,7] y) {
        c = Conv (x, w)
        n = BatchNormalization (c, s, b, m, v)
        i = Identity (n)
        y = Sigmoid (i)
    }"""
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.1,
        "s": np.ones(8, np.float32),
        "b": np.full(8, -15.5, np.float32),
        "m": rng.standard_normal(8).astype(np.float32),
        "v": rng.uniform(0.5, 1.5, 8).astype(np.float32),
    }
    model = build(text, **arrays)
    result, report = simplify(model)
    assert "conv+batchnorm" not in report.changed
    assert report.changed == {"identities": 1}
    assert any("rounded differently" in skipped.reason for skipped in report.skipped)
    fed = feeds(model, 2)
    assert (run(model, fed)["y"] == run(result, fed)["y"]).all()
    _, report = simplify(build(text, **{**arrays, "b": np.zeros(8, np.float32)}))
    assert report.changed == {"identities": 1, "conv+batchnorm": 1}
    assert measure_difference(model, result, 0) == 0


def test_what_may_be_huge_or_endless_is_not_run_to_compare_it() -> None:
    side = np.asarray([1 << 20, 1 << 20], np.int64)
    text = """(float[N,4] x) => (float[N,5] y) {
        m = MatMul (x, w)
        a = Add (m, b)
        h = ConstantOfShape (side)
        t = ReduceMax <keepdims=0> (h)
        y = Add (a, t)
    }"""
    _, report = simplify(build(text, w=floats(4, 5), b=floats(5), side=side))
    assert report.changed["matmul+add"] == 1
    assert "not measured" in report.details["rounding"]
