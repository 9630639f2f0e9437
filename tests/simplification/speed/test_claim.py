"""The model of a claim."""

from __future__ import annotations

import numpy as np
import onnx

from onnxslim.model_io import model_file
from onnxslim.simplification.speed.claim import SpeedClaim

CLAIM = SpeedClaim(
    "a row",
    "(float[2,3] x) => (float[2,4] y) { a = MatMul (x, w) b = Mul (a, c) d = Add (b, bias) y = Gather <axis = 1> (d, i) }",
    gains=True,
    constants={"w": (3, 4), "c": 0.5, "bias": (4,), "i": [0, 1, 2, 3]},
)


def test_constants_are_what_the_claim_says_and_the_same_every_time() -> None:
    first, second = CLAIM.build(), CLAIM.build()
    assert model_file.to_bytes(first) == model_file.to_bytes(second)
    onnx.checker.check_model(onnx.load_model_from_string(model_file.to_bytes(first)))
    arrays = {name: value.const_value.numpy() for name, value in first.graph.initializers.items()}
    assert arrays["w"].shape == (3, 4)
    assert arrays["w"].dtype == np.float32
    assert arrays["c"] == np.float32(0.5)
    assert (arrays["bias"] > 0).all()
    assert arrays["i"].dtype == np.int64
