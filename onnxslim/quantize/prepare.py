"""What comes before any way to quantise: the target, a model fit to be edited, patterns that mean something."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from onnxslim.account import Account
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.graph import opset, shapes
from onnxslim.graph.constants import tensor
from onnxslim.quantize.plan import name_nodes
from onnxslim.quantize.recognise import quantised
from onnxslim.quantize.targets import TARGETS, Target

#: Per-channel DequantizeLinear came with this opset.
PER_CHANNEL = 13
#: The first IR version whose initializers need not be inputs as well. Below, runtimes let nobody override them.
FREE_INITIALIZERS = 4


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
    if model.ir_version < FREE_INITIALIZERS:
        common.RemoveInitializersFromInputsPass()(model)
    if model.ir_version < FREE_INITIALIZERS or raised is not None:
        lowest = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", model.opset_imports[""])])
        model.ir_version = max(model.ir_version, lowest)
    shapes.infer(model)
    name_nodes(model)
    return model


def nothing(model: ir.Model, wanted: str) -> UnsupportedError:
    """Why ``model`` has no layer to quantise: ``wanted``, or that its weights are of another type than float32."""
    found = {
        array.dtype.name
        for node in model.graph.all_nodes()
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and (array := tensor(_weight(node))) is not None
    }
    others = sorted(name for name in found if name != ir.DataType.FLOAT.name)
    if others and len(others) == len(found):
        return UnsupportedError(
            f"nothing to quantise: the layers' weights are {' and '.join(others).lower()}, int8 is made of float32",
            hint="quantise the float32 model that it was made from",
        )
    return UnsupportedError(f"nothing to quantise: no {wanted}")


def _weight(node: ir.Node) -> ir.Value | None:
    return node.inputs[1] if len(node.inputs) > 1 else None


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
