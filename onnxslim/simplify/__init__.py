"""Exact rewrites: the same function in fewer nodes, never in a larger file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.io import ModelLike
from onnxslim.progress import Progress, silent
from onnxslim.simplify import size, tidy
from onnxslim.simplify.arithmetic import integers
from onnxslim.simplify.driver import rewrite
from onnxslim.simplify.edit import Editor
from onnxslim.simplify.fold import fold
from onnxslim.simplify.merge import merge_initializers, merge_nodes
from onnxslim.simplify.nested import walk
from onnxslim.simplify.rounding import TOLERANCE, difference
from onnxslim.simplify.rule import Rule, Scene
from onnxslim.simplify.table import RULES

#: The result may be this much larger than the input, no more.
GROWTH = 1.02

#: Folding feeds rules and rules feed folding; real models are done after four or five rounds.
ROUNDS = 30


@dataclass(frozen=True)
class SimplifyOptions:
    """Options of :func:`simplify`.

    Attributes:
        max_fold_bytes: How many bytes folding constants may add to the file; None is 2 % of its size.
        skip: Names of rules (:data:`onnxslim.simplify.table.RULES`) that are left out.
    """

    max_fold_bytes: int | None = None
    skip: tuple[str, ...] = ()


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
    account = Account("simplify")
    with account.timed():
        result, made = _within_bounds(model, options, progress)
    made.seconds = account.seconds
    return result, made


def _within_bounds(source: ModelLike, options: SimplifyOptions, progress: Progress) -> tuple[ir.Model, Account]:
    """The smallest form that is equal and not larger: all rules, else those that keep every bit, else no growth.

    The model is rewritten in place and read again from ``source`` where the original is needed, which is cheaper than
    keeping a copy of a large graph that most calls never look at.
    """
    model = io.load(source)
    before = size.estimate(model)
    allowance = before * (GROWTH - 1) if options.max_fold_bytes is None else options.max_fold_bytes
    rules = [rule for rule in RULES if rule.name not in options.skip]
    rounding = {rule.name for rule in rules if rule.rounds}
    exact = [rule for rule in rules if not rule.rounds]

    account = _simplify(model, rules, allowance, progress)
    if rounding & account.changed.keys():
        gap = difference(io.load(source), model, before)
        if gap is None:
            account.details["rounding"] = "not measured: the model is large, or does not run on random inputs"
        elif gap > TOLERANCE:
            model = io.load(source)
            account = _simplify(model, exact, allowance, progress)
            reason = f"a random input changes an output by {gap:.1e} of its maximum when rounded differently"
            account.decline(model.graph.name or "model", f"{', '.join(sorted(rounding))}: {reason}")
    if size.estimate(model) > before:
        limit = size.exact(io.load(source)) * GROWTH + (options.max_fold_bytes or 0)
        if size.exact(model) > limit:
            model = io.load(source)
            account = _simplify(model, exact, 0, progress)
        if size.exact(model) > limit:
            model, account = io.load(source), Account("simplify")
            account.decline(model.graph.name or "model", "the simplified file would be larger")
    return model, account


def _simplify(model: ir.Model, rules: Sequence[Rule], allowance: float, progress: Progress) -> Account:
    """Rewrite ``model`` in place."""
    account = Account("simplify")
    nodes = tidy.count(model)
    types = tidy.prepare(model, account)
    editor = Editor(model, allowance)
    editor.erase(reversed(list(walk(model.graph))))
    for number in range(ROUNDS):
        progress("simplify", number, 0)
        account.declined.clear()
        if number == 0 or not tidy.settled(model):
            tidy.infer(model)
        known = integers(model)
        changed = rewrite(model, editor, rules, Scene(model.opset_imports.get("", 1), known), account)
        changed += fold(model, editor, account)
        if not changed:  # only now: a Conv that two nodes read cannot take in the BatchNormalization of either
            changed += merge_initializers(model, editor, account)
            changed += merge_nodes(model, editor, known, account)
        if not changed:
            break
    tidy.finish(model, types)
    account.declined = list(dict.fromkeys(account.declined))
    account.details["nodes"] = {"before": nodes, "after": tidy.count(model)}
    return account
