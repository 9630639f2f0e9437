"""What is said of layers between Q/DQ is what the claims about the runtime, which are executed, say."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from onnxslim.quantization.conformance.fusion_claims import FusionClaim, list_claims
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.runtime.devices.machine_figures import name_processor
from onnxslim.tools.unfused_layers import find_unfused_layers
from tests.support.onnx_text import build, floats

FLOAT_KERNELS = {"Conv", "FusedConv", "Gemm", "MatMul"}
INT8_KERNELS = {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"}


def says_float(claim: FusionClaim) -> bool | None:
    """Whether a layer of the claim runs in float; None where it is about something else."""
    kernels = {op for part in claim.expected_ops.split() for op in part.split("|")}
    if kernels & FLOAT_KERNELS:
        return True
    return False if kernels & INT8_KERNELS else None


#: What other hints tell of (int8 activations, weights without activations), and a layer that is kept float on purpose.
OTHERS = ("int8 activations that two ops read", "stays float, its neighbours", "at load", "at every run")
CLAIMS = [
    c for c in list_claims(name_processor()) if says_float(c) is not None and not any(o in c.description for o in OTHERS)
]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.description)
def test_a_layer_is_told_where_the_runtime_is_claimed_to_keep_it_float(claim: FusionClaim) -> None:
    toy = ToyModel(*claim.shape, opset=claim.opset)
    outputs = claim.draw(toy)
    model = toy.build(*(outputs if isinstance(outputs, tuple) else (outputs,)))
    found = list(find_unfused_layers(model))
    assert bool(found) == says_float(claim), found


def test_weights_alone_are_no_pair() -> None:
    toy = ToyModel(1, 16, 8, 8)
    assert not list(find_unfused_layers(toy.build(toy.conv(toy.x))))


def test_the_reason_names_what_is_wrong() -> None:
    toy = ToyModel(1, 16, 8, 8)
    model = toy.build(toy.qdq(toy.conv(toy.qdq(toy.x), toy.bias(16, 0.02 * 0.01 * 1.05))))
    ((node, why),) = find_unfused_layers(model)
    assert node.op_type == "Conv"
    assert "another scale" in why
    toy = ToyModel(1, 16, 8, 8)
    right = toy.build(toy.qdq(toy.conv(toy.qdq(toy.x), toy.bias(16, float(np.float32(0.02) * np.float32(0.01))))))
    assert not list(find_unfused_layers(right))


@pytest.mark.parametrize("code", [ml_dtypes.float8_e4m3fn, ml_dtypes.uint4, np.uint8])
def test_codes_of_every_type_are_read(code: type) -> None:
    text = """(float[1,4,8,8] x) => (float[1,4,8,8] y) {
        xq = QuantizeLinear (x, s, z) xd = DequantizeLinear (xq, s, z) wd = DequantizeLinear (w, s)
        c = Conv (xd, wd) r = Relu (c) q = QuantizeLinear (r, s, z) y = DequantizeLinear (q, s, z)
    }"""
    weight = floats(4, 4, 1, 1).astype(np.int8)
    model = build(text, opset=21, ir_version=10, s=np.float32(0.1), z=np.zeros((), code), w=weight)
    assert not list(find_unfused_layers(model))
