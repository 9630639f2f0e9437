"""What the placement of Q/DQ rests on holds on the installed runtime."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from onnxslim.quantization.conformance.fusion_claims import FusionClaim, list_claims
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.runtime.devices.machine_figures import name_processor
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session, SessionConfig


@pytest.mark.parametrize("claim", list_claims(name_processor()), ids=lambda claim: claim.description)
def test_what_placement_rests_on_holds(claim: FusionClaim) -> None:
    ops = Counter(node.op_type for node in read_optimized_graph(claim.build()).graph)
    assert claim.holds(ops), f"{claim.description}: left {dict(ops)}"


def test_a_conv_with_weights_per_input_channel_is_not_only_fused_but_wrong() -> None:
    s = ToyModel(1, 16, 8, 8)
    rng = np.random.default_rng(0)
    codes = s.constant(rng.integers(-127, 128, (16, 16, 1, 1)), np.int8)
    scales, zeros = s.constant(np.linspace(0.001, 0.02, 16)), s.constant(np.zeros(16), np.int8)
    model = s.build(s.qdq(s("Conv", s.qdq(s.x), s("DequantizeLinear", codes, scales, zeros, axis=1)), 0.05))
    feed = {"x": rng.standard_normal((1, 16, 8, 8)).astype(np.float32)}
    plain, fused = (Session(model, SessionConfig(optimize=on)).run(feed)["y0"] for on in (False, True))
    assert np.abs(plain - fused).max() > 1.0, "the runtime heeds the axis now: rewrite the claim"
