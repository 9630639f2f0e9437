"""Exact rewrites: the same function in fewer nodes, never in a larger file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.graph import shapes
from onnxslim.io import ModelLike
from onnxslim.progress import Progress, silent
from onnxslim.simplify import tidy
from onnxslim.simplify.driver import rewrite
from onnxslim.simplify.edit import Editor
from onnxslim.simplify.fold import fold
from onnxslim.simplify.rounding import TOLERANCE, difference
from onnxslim.simplify.rule import Rule, Scene
from onnxslim.simplify.table import RULES

#: The result may be this much larger than the input, no more.
GROWTH = 1.02

#: Folding feeds rules and rules feed folding; real models are done after three or four rounds.
ROUNDS = 12


@dataclass(frozen=True)
class SimplifyOptions:
    """Options of :func:`simplify`.

    Attributes:
        max_fold_bytes: How many bytes folding constants may add to the file; None is 2 % of its size.
    """

    max_fold_bytes: int | None = None


def simplify(
    model: ModelLike, options: SimplifyOptions = SimplifyOptions(), *, progress: Progress = silent
) -> tuple[ir.Model, Account]:
    """Rewrite ``model`` to fewer nodes that compute the same to float rounding.

    Names of inputs, outputs and dimensions, metadata, opset and IR version are kept. Running it on its own result
    changes nothing, and the same input gives the same bytes.

    Args:
        model: A path, bytes, ModelProto or ``onnx_ir.Model``; it is not changed.
        options: See :class:`SimplifyOptions`.
        progress: Called as ``progress("simplify", round, 0)``.

    Returns:
        The new model and the account: counts by rule, and what was declined with the reason.

    Raises:
        UsageError: The file does not exist.
        InvalidModelError: Not a valid model.
    """
    original = io.load(model)
    total = Account("simplify")
    with total.timed():
        result, account = _within_bounds(original, options, progress)
    account.seconds = total.seconds
    return result, account


def _within_bounds(original: ir.Model, options: SimplifyOptions, progress: Progress) -> tuple[ir.Model, Account]:
    """The smallest form that is equal and not larger: all rules, else those that keep every bit, else no growth."""
    before = tidy.size(original)
    limit = before * GROWTH + (options.max_fold_bytes or 0)
    allowance = before * (GROWTH - 1) if options.max_fold_bytes is None else options.max_fold_bytes
    rounding = {rule.name for rule in RULES if rule.rounds}
    exact = [rule for rule in RULES if not rule.rounds]

    result, account = _simplify(original, RULES, allowance, progress)
    if rounding & account.changed.keys():
        gap = difference(original, result, before)
        if gap is None:
            account.details["rounding"] = "not measured: the model is large, or does not run on random inputs"
        elif gap > TOLERANCE:
            result, account = _simplify(original, exact, allowance, progress)
            reason = f"a random input changes an output by {gap:.1e} of its maximum when rounded differently"
            account.decline(original.graph.name or "model", f"{', '.join(sorted(rounding))}: {reason}")
    if tidy.size(result) > limit:
        result, account = _simplify(original, exact, 0, progress)
    if tidy.size(result) > limit:
        result, account = original, Account("simplify")
        account.decline(original.graph.name or "model", "the simplified file would be larger")
    return result, account


def _simplify(
    original: ir.Model, rules: Sequence[Rule], allowance: float, progress: Progress
) -> tuple[ir.Model, Account]:
    account = Account("simplify")
    model = io.clone(original)
    nodes = sum(1 for _ in model.graph.all_nodes())
    interface = tidy.prepare(model, account)
    editor = Editor(model, allowance)
    scene = Scene(model.opset_imports.get("", 1))
    for number in range(ROUNDS):
        progress("simplify", number, 0)
        account.declined.clear()
        shapes.infer(model)
        changed = rewrite(model, editor, rules, scene, account)
        changed += fold(model, editor, account)
        changed += tidy.merge(model, account)
        if not changed:
            break
    tidy.finish(model, interface)
    account.declined = list(dict.fromkeys(account.declined))
    account.details["nodes"] = {"before": nodes, "after": sum(1 for _ in model.graph.all_nodes())}
    return model, account
