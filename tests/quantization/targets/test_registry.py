"""A target is one file: what the table promises of each, and that nobody else asks for one by its name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import onnxslim
from onnxslim.core.errors import UsageError
from onnxslim.pipeline.recipe import PRESETS
from onnxslim.quantization.conformance.pattern_checks import FUSED_PATTERNS, LINEAR_PATTERNS
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.registry import TARGETS, get_target
from onnxslim.runtime.providers import PROVIDERS
from tests.support.paths import ROOT


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_a_target_has_a_provider_and_either_rows_with_patterns_or_a_reason_for_none(target: Target) -> None:
    assert target.provider in PROVIDERS
    assert bool(target.supported_ops) == (target.unsupported_reason is None)
    assert {*target.supported_ops, *target.probed_ops} <= FUSED_PATTERNS.keys() | LINEAR_PATTERNS.keys()
    assert target.preset is None or PRESETS[target.preset].steps[-1].options.target == target.name
    assert get_target(target.name) is target


def test_an_unknown_target_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError, match="--target abacus: unknown") as error:
        get_target("abacus")
    assert error.value.hint == "one of " + ", ".join(TARGETS)


def test_nobody_compares_with_a_targets_name_or_provider() -> None:
    package = Path(onnxslim.__file__).parent
    own = (package / "quantization" / "targets", package / "runtime")
    found = [
        f"{path}:{node.lineno}"
        for path in (*package.rglob("*.py"), *(ROOT / "cli").rglob("*.py"))
        if not any(folder in path.parents for folder in own)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value in TARGETS
    ]
    assert not found, "ask the target for what it does instead"
