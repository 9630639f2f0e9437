"""Which ops run in half floats is asked of the runtime: x86 has kernels for hardly any."""

from __future__ import annotations

import platform

import pytest

from onnxslim.quantization.conformance.half_float_kernels import find_half_float_kernels
from onnxslim.quantization.targets.arm import ARM_MACHINES


@pytest.mark.skipif(platform.machine() in ARM_MACHINES, reason="what x86 has")
def test_x86_casts_a_convolution_to_float32_and_back() -> None:
    found = find_half_float_kernels()
    assert not found["Conv"]
    assert not found["Sigmoid"]
