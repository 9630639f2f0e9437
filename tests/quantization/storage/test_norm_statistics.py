"""Means and variances folded into scale and shift: the same bits out, two vectors for four."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.storage.norm_statistics import fold_norm_statistics
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model

TEXT = """g (float[n,24,6,6] x) => (float[n,24,6,6] y) {
    a = BatchNormalization <epsilon = 0.001> (x, s0, b0, m0, v0)
    b = PRelu (a, slope)
    c = BatchNormalization (b, s1, b1, m1, v1)
    d = Abs (c)
    y = BatchNormalization (d, s0, b0, m1, v1)
}"""


def build(variance: float = 1.0) -> ir.Model:
    rng = np.random.default_rng(0)
    vectors = {f"{kind}{i}": rng.normal(size=24).astype(np.float32) for kind in "sbm" for i in (0, 1)}
    variances = {f"v{i}": (variance * rng.uniform(1e-6, 9, 24)).astype(np.float32) for i in (0, 1)}
    return model(TEXT, slope=rng.normal(size=(24, 1, 1)).astype(np.float32), **vectors, **variances)


def test_the_outputs_keep_their_bits_and_the_file_loses_two_vectors_a_norm() -> None:
    before = build()
    after = model_file.clone(before)
    assert fold_norm_statistics(after).changed == {"norms stored in two vectors": 3}
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 24, 6, 6)).astype(np.float32)}
    np.testing.assert_allclose(Session(after).run(feeds)["y"], Session(before).run(feeds)["y"], rtol=2e-6, atol=2e-6)
    # of the eight vectors that three norms shared, two a norm and a common pair are left
    assert sum(value.const_value.size for value in after.graph.initializers.values()) == 24 * (1 + 6 + 2)  # type: ignore[union-attr]


@pytest.mark.parametrize("change", ["negative variance", "trains", "one alone"])
def test_what_is_no_plain_norm_stays(change: str) -> None:
    found = build(-1.0 if change == "negative variance" else 1.0)
    for node in list(found.graph):
        if change == "trains" and node.op_type == "BatchNormalization":
            node.attributes["training_mode"] = ir.AttrInt64("training_mode", 1)
        if change == "one alone" and node.op_type == "BatchNormalization" and node.outputs[0].name != "c":
            node.op_type = "NoNorm"
    assert fold_norm_statistics(found).changed == {}
