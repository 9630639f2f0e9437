"""What is kept of other releases of the runtime covers the tables of today."""

from __future__ import annotations

import json
import re

from onnxslim.quantization.conformance.fusion_claims import FUSION_CLAIMS
from onnxslim.quantization.conformance.pattern_checks import FUSED_PATTERNS, LINEAR_PATTERNS
from onnxslim.quantization.targets.onnxruntime_cpu import CPU
from tests.support.paths import ROOT

RELEASES = json.loads((ROOT / "docs" / "reference" / "conformance.json").read_text(encoding="utf-8"))


def test_every_row_and_claim_was_asked_of_every_release() -> None:
    ops = {op for op in CPU.supported_ops if op in FUSED_PATTERNS or op in LINEAR_PATTERNS}
    for answers in RELEASES.values():
        assert answers["ops"].keys() == ops
        assert answers["claims"].keys() == {claim.description for claim in FUSION_CLAIMS}


def test_every_op_fuses_in_every_release_that_is_supported() -> None:
    oldest = re.search(r'"onnxruntime>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert oldest is not None
    assert oldest[1] in RELEASES
    assert all(fused for answers in RELEASES.values() for fused in answers["ops"].values())
