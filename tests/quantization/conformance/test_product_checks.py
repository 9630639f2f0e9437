"""Products of the largest codes: exact here unless the kernels saturate, and a wrong one would be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxslim.quantization.conformance import product_checks
from onnxslim.quantization.conformance.product_checks import PRODUCT_CHECKS, check_products
from onnxslim.quantization.targets.detect import has_saturating_kernels


def test_uint8_by_int8_is_exact_unless_sums_saturate_and_everything_else_is() -> None:
    found = check_products()
    assert found.keys() <= {check.description for check in PRODUCT_CHECKS}
    for description, is_exact in found.items():
        may_saturate = "uint8 by int8" in description and "depthwise" not in description and has_saturating_kernels()
        assert is_exact or may_saturate or "-128" in description, description


@pytest.mark.parametrize("check", PRODUCT_CHECKS, ids=lambda check: check.description)
def test_a_kernel_that_saturates_in_16_bits_is_seen(
    check: product_checks.ProductCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Saturating(product_checks.Session):
        def run(self, feeds: Any, outputs: Any = None) -> dict[str, Any]:
            ((name, exact),) = super().run(feeds, outputs).items()
            return {name: (exact - (exact - np.median(exact)) * 0.45).astype(exact.dtype)}

    if not check.is_exact():
        pytest.skip("not here")
    monkeypatch.setattr(product_checks, "Session", Saturating)
    assert not check.is_exact()
