"""The target of this machine is asked of its kernels."""

from __future__ import annotations

from onnxslim.quantization.targets.detect import detect_target, has_saturating_kernels
from onnxslim.runtime.session import SessionConfig


def test_this_machines_kernels_are_asked_for_their_sums() -> None:
    wrong = has_saturating_kernels()
    assert detect_target(SessionConfig()).name == ("cpu-no-vnni" if wrong else "cpu")
    assert detect_target(SessionConfig(provider="cuda:1")).name == "cuda"
    assert detect_target(SessionConfig(provider="tensorrt")).name == "tensorrt"
