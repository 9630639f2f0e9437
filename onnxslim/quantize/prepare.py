"""What comes before any way to quantise: the target, a model fit to be edited, patterns that mean something."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.graph import opset, shapes
from onnxslim.quantize.plan import name_nodes
from onnxslim.quantize.recognise import quantised
from onnxslim.quantize.targets import TARGETS, Target

#: Per-channel DequantizeLinear came with this opset.
PER_CHANNEL = 13


def target_named(name: str) -> Target:
    """The target that runs static int8.

    Raises:
        UsageError: There is none of that name.
        UnsupportedError: It runs no static int8; says what to do instead.
    """
    if name not in TARGETS:
        raise UsageError(f"--target {name}: unknown", hint=f"one of {', '.join(TARGETS)}")
    target = TARGETS[name]
    if target.why_not is not None:
        raise UnsupportedError(
            f"--target {name}: {target.why_not}", hint="`--target cpu` writes int8 for the CPU provider"
        )
    return target


def prepared(model: ir.Model, account: Account, version: int = PER_CHANNEL, why: str = "per-channel weights") -> ir.Model:
    """``model``, or a copy with the opset raised to ``version``: shapes inferred, every node named.

    Raises:
        UnsupportedError: It is quantised already.
    """
    kind = quantised(model)
    if kind is not None:
        raise UnsupportedError(f"the model is quantised already: {kind}", hint="quantise the float model it came from")
    model, raised = opset.at_least(model, version)
    if raised is not None:
        account.warnings.append(f"opset raised from {raised} to {version}: {why} need it")
    shapes.infer(model)
    name_nodes(model)
    return model


def matching(model: ir.Model, patterns: Sequence[str]) -> list[str]:
    """The names of the nodes that one of ``patterns`` matches whole."""
    names = [node.name or "" for node in model.graph.all_nodes()]
    return [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]


def check_patterns(model: ir.Model, patterns: Sequence[str]) -> None:
    """Refuse patterns that match no node of ``model``.

    Raises:
        UsageError: Not a regular expression, or it matches nothing; names the nearest nodes.
    """
    names = [node.name or "" for node in model.graph.all_nodes()]
    for pattern in patterns:
        try:
            matched = any(re.fullmatch(pattern, name) for name in names)
        except re.error as error:
            raise UsageError(f"--exclude {pattern}: not a regular expression ({error})") from None
        if not matched:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3)
            raise UsageError(f"--exclude {pattern}: matches no node", hint=f"nearest: {', '.join(near) or 'none'}")
