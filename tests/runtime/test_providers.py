"""Providers by name: refused where they are not built in, with what installs them."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.runtime import providers


def test_cuda_is_refused_where_it_is_not_built_in_with_what_installs_it() -> None:
    with pytest.raises(UnsupportedError, match="no CUDAExecutionProvider") as caught:
        providers.parse_provider("cuda:1", ["CPUExecutionProvider"])
    assert "onnxruntime-gpu" in str(caught.value.hint)


def test_cuda_with_a_device_is_taken_where_it_is_built_in() -> None:
    found = providers.parse_provider("cuda:1", ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert (found.name, found.device, found.label) == ("CUDAExecutionProvider", 1, "cuda:1")


@pytest.mark.parametrize("text", ["rocket", "cuda:", "CUDA", "cuda:x", ""])
def test_an_unknown_provider_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        providers.parse_provider(text, ["CPUExecutionProvider"])
