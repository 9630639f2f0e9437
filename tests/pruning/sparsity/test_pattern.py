"""Sparsities as they are written."""

from __future__ import annotations

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.pruning.options import PruneOptions


@pytest.mark.parametrize("sparsity", [0.0, 1.0, "4:2", "2:2", "half", "0:4", "50%:0x4", "<0", "100%", "-1"])
def test_what_is_no_sparsity_is_a_usage_error(sparsity: float | str) -> None:
    with pytest.raises(UsageError, match="--sparsity"):
        PruneOptions(sparsity=sparsity)
