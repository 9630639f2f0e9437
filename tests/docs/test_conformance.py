"""What is kept of other releases of the runtime, and of other processors, covers the tables of today."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from typing import Any

import pytest

from onnxslim.quantization.conformance.fusion_claims import list_claims
from onnxslim.quantization.conformance.pattern_checks import FUSED_PATTERNS, LINEAR_PATTERNS, UNFUSED_PATTERNS
from onnxslim.quantization.conformance.product_checks import PRODUCT_CHECKS
from onnxslim.quantization.targets.arm import CPU_ARM
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.onnxruntime_cpu import CPU, CPU_NO_VNNI
from onnxslim.runtime.emulation.processor_table import PROCESSORS
from tests.support.paths import ROOT

REFERENCE = ROOT / "docs" / "reference"
RELEASES = json.loads((REFERENCE / "conformance.json").read_text(encoding="utf-8"))
ON_PROCESSORS = json.loads((REFERENCE / "conformance_processors.json").read_text(encoding="utf-8"))
#: What each emulated processor is, and what it is called by Linux.
TARGETS = {"arm": (CPU_ARM, "aarch64"), "armv8": (CPU_ARM, "aarch64"), "avx2": (CPU_NO_VNNI, "x86_64")}


def list_ops(target: Target) -> set[str]:
    return {op for op in target.supported_ops if op in FUSED_PATTERNS or op in LINEAR_PATTERNS}


def get_answers(processor: str) -> dict[str, Any]:
    """Those of the newest release that was asked."""
    return max(ON_PROCESSORS[processor].items(), key=lambda item: [int(part) for part in item[0].split(".")])[1]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the releases were asked on x86")
def test_every_row_and_claim_was_asked_of_every_release() -> None:
    for answers in RELEASES.values():
        assert answers["ops"].keys() == list_ops(CPU)
        assert answers["claims"].keys() == {claim.description for claim in list_claims(platform.machine())}


def test_every_op_fuses_in_every_release_that_is_supported() -> None:
    oldest = re.search(r'"onnxruntime>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert oldest is not None
    assert oldest[1] in RELEASES
    assert all(fused for answers in RELEASES.values() for fused in answers["ops"].values())


@pytest.mark.parametrize("processor", [name for name, processor in PROCESSORS.items() if processor.model is not None])
def test_every_row_and_claim_holds_on_every_processor_that_was_emulated(processor: str) -> None:
    (target, machine), answers = TARGETS[processor], get_answers(processor)
    assert answers["ops"] == dict.fromkeys(list_ops(target), True)
    assert answers["others"] == dict.fromkeys(UNFUSED_PATTERNS, False)
    assert answers["claims"] == {claim.description: True for claim in list_claims(machine)}


@pytest.mark.parametrize("processor", TARGETS)
def test_products_are_exact_where_the_target_and_the_layers_that_are_named_say_so(processor: str) -> None:
    products = get_answers(processor)["products"]
    assert products.keys() <= {check.description for check in PRODUCT_CHECKS}
    for description, is_exact in products.items():
        may_saturate = processor == "avx2" and "uint8 by int8" in description and "depthwise" not in description
        may_wrap = processor == "armv8" and "-128" in description
        assert is_exact or may_saturate or may_wrap, description
    assert not products["linear, uint8 by int8"] or processor != "avx2"


def test_half_floats_are_computed_in_where_there_are_instructions_for_them() -> None:
    assert get_answers("arm")["half_floats"]["Conv"]
    assert not get_answers("armv8")["half_floats"]["Conv"]


@pytest.mark.nightly
def test_what_is_kept_of_emulated_processors_is_what_they_answer() -> None:
    """Where QEMU is installed, and ``benchmarks/conformance_arm.sh`` has unpacked Python for Arm."""
    command = [sys.executable, str(ROOT / "benchmarks" / "conformance.py"), "--processors"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    asked = [name for name in ON_PROCESSORS if f" on {name}: " in done.stdout]
    if not asked:
        pytest.skip(done.stdout)
    count = len(list_ops(CPU))
    assert done.stdout.count(f"{count} of {count} ops fuse") == len(asked)
    assert done.stdout.count("fuses beside the table: nothing") == len(asked)
    assert done.stdout.count("claims that do not hold: none") == len(asked)
