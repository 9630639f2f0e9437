"""Exact rewrites: the same function in fewer nodes, never in a larger file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account, Declined
from onnxslim.io import ModelLike
from onnxslim.progress import Progress, silent
from onnxslim.simplify import size, tidy
from onnxslim.simplify.arithmetic import Known, integers
from onnxslim.simplify.driver import rewrite
from onnxslim.simplify.edit import Editor
from onnxslim.simplify.fold import fold
from onnxslim.simplify.idle import without_idle_channels
from onnxslim.simplify.merge import merge_initializers, merge_nodes
from onnxslim.simplify.nested import walk
from onnxslim.simplify.rounding import difference, tolerance
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
    """Simplify, and look at the size of what came out: it may not have grown past the limit."""
    model = io.load(source)
    before = size.estimate(model)
    allowance = before * (GROWTH - 1) if options.max_fold_bytes is None else options.max_fold_bytes
    model, account = _simplify(model, options.skip, allowance, before, progress)
    allowed = before * GROWTH + (options.max_fold_bytes or 0)
    if account.changed and size.estimate(model) + size.doubt(model) > allowed:
        limit = size.exact(io.load(source)) * GROWTH + (options.max_fold_bytes or 0)
        if size.exact(model) > limit:
            model, account = _simplify(io.load(source), options.skip, 0, before, progress)
        if size.exact(model) > limit:
            model, account = io.load(source), Account("simplify")
            account.decline(model.graph.name or "model", "the simplified file would be larger")
    return model, account


def _simplify(
    model: ir.Model, skip: Sequence[str], allowance: float, nbytes: int, progress: Progress
) -> tuple[ir.Model, Account]:
    """Rewrite ``model``, of about ``nbytes``: by the rules that keep every bit, then by those that round differently.

    The form in between is kept, and is what counts when the final one differs from it by more than rounding should.
    """
    account = Account("simplify")
    rules = [rule for rule in RULES if rule.name not in skip]
    exact = [rule for rule in rules if not rule.rounds]
    nodes = tidy.count(model)
    types = tidy.prepare(model, account)
    editor = Editor(model, allowance)
    account.count("unread", editor.sweep())
    lasting = list(account.declined)
    tidy.infer(model)
    rested: Known | None = _to_the_end(model, editor, exact, account, progress, merge=False)

    refusal = None
    rounding = [rule for rule in rules if rule.rounds]
    if any(node.op_type in rule.roots for node in walk(model.graph) for rule in rounding):
        kept, trial, rested = io.clone(model), Account("simplify"), None
        _to_the_end(model, editor, rules, trial, progress, merge=True)
        if any(rule.name in trial.changed for rule in rounding):
            gap = difference(kept, model, nbytes)
            if gap is None:
                account.details["rounding"] = "not measured: the model is large, or does not run on random inputs"
            elif gap > tolerance(kept):
                refusal = f"a random input changes an output by {gap:.1e} of its maximum when rounded differently"
        if refusal is None:
            _absorb(account, trial)
        else:
            model, editor = kept, Editor(kept, allowance)
    allowed = exact if refusal else rules
    _to_the_end(model, editor, allowed, account, progress, merge=True, rested=rested)
    if refusal:
        lasting.append(Declined(model.graph.name or "model", f"{', '.join(rule.name for rule in rounding)}: {refusal}"))
    elif (lean := without_idle_channels(model, nbytes, account)) is not model:
        model = lean
        tidy.infer(model)
        _to_the_end(model, Editor(model, editor.allowance), allowed, account, progress, merge=True)
    tidy.finish(model, types)
    account.declined = list(dict.fromkeys([*lasting, *account.declined]))
    account.details["nodes"] = {"before": nodes, "after": tidy.count(model)}
    return model, account


def _to_the_end(
    model: ir.Model,
    editor: Editor,
    rules: Sequence[Rule],
    account: Account,
    progress: Progress,
    *,
    merge: bool,
    rested: Known | None = None,
) -> Known:
    """Rewrite, fold and (with ``merge``) compute once what is computed twice, in place, until nothing changes.

    Merging waits until nothing else is left to do: a Conv that two nodes read cannot take in the BatchNormalization
    of either. ``rested`` is what the same rules ended with on this very model: merging is then the next to do.

    Returns:
        What is known of integers at the end.
    """
    known: Known = {}
    for number in range(ROUNDS):
        progress("simplify", number, 0)
        changed = 0
        if number or rested is None:
            account.declined.clear()
            if number and not tidy.settled(model):
                tidy.infer(model)
            known = integers(model)
            changed += rewrite(model, editor, rules, Scene(model.opset_imports.get("", 1), known), account)
            changed += fold(model, editor, account)
        else:
            known = rested
        if not changed and merge:
            changed += merge_initializers(model, editor, account)
            changed += merge_nodes(model, editor, known, account)
        if not changed:
            break
    return known


def _absorb(account: Account, trial: Account) -> None:
    for name, times in trial.changed.items():
        account.count(name, int(times))
    account.declined = trial.declined
