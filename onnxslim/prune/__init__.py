"""Channels that go, and the repair of what stays."""

from __future__ import annotations

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.channels.layers import name_nodes
from onnxslim.data.samples import Samples
from onnxslim.errors import UnsupportedError
from onnxslim.graph import shapes
from onnxslim.graph.cost import cost
from onnxslim.io import ModelLike
from onnxslim.progress import Progress, silent
from onnxslim.prune.blocks import tidy
from onnxslim.prune.budget import budget_of
from onnxslim.prune.candidates import Candidates, Cut
from onnxslim.prune.factor import split
from onnxslim.prune.kept import Kept
from onnxslim.prune.merge import merged
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.plan import Effects, below, choices_of, meet
from onnxslim.prune.restore import restore
from onnxslim.prune.survey import Surveys, survey
from onnxslim.prune.zeros import sparsify
from onnxslim.runtime.session import SessionConfig, check


def prune(
    model: ModelLike,
    samples: Samples | None = None,
    options: PruneOptions | None = None,
    *,
    config: SessionConfig | None = None,
    surveys: Surveys | None = None,
    progress: Progress = silent,
) -> tuple[ir.Model, Account]:
    """``model`` with channels removed until the budget is met, and what is left repaired towards its outputs.

    Units (see :mod:`onnxslim.channels`) are ranked within their family by Optimal Brain Surgeon on all layers that read
    them, families are weighed by what their removal does to the model's outputs, a knapsack takes the least harmful set
    that meets the budget, and least squares fits every layer behind to the outputs it used to have. No labels are read.

    Args:
        model: What to prune; it is not changed. Simplify it first: a folded graph has more to remove.
        samples: Inputs to score and repair with, some hundreds; without them units are ranked by their weights alone
            and nothing is repaired.
        options: The budget and how to spend it.
        config: How the model runs while it is observed.
        surveys: What is known of models from other prunings with the same samples, and is added to.
        progress: Called as the stages go on.

    Returns:
        The pruned model and the account: counts, ``details["families"]`` with what went where, ``details["repair"]``
        with each layer's relative error before and after.

    Raises:
        UsageError: An option is wrong, an exclude matches nothing, the criterion needs data.
        UnsupportedError: The model is quantised.
        GateError: The budget cannot be met; says how much can go and what holds the rest.
    """
    options = options or PruneOptions()
    config, surveys = config or SessionConfig(), {} if surveys is None else surveys
    account = Account("prune")
    with account.timed():
        original = io.load(model)
        _refuse_quantised(original)
        if samples is None:
            account.warnings.append("no data: units are ranked by their weights alone, and nothing is repaired")
        name_nodes(original.graph)
        before = cost(original)
        if options.low_rank:
            original = merged(original, options.exclude, account)
        current, kept = original, Kept()
        for turn in range(options.rounds if options.channels else 0):
            current, kept = _round(original, current, kept, samples, options, turn, config, surveys, account, progress)
        if options.sparsity is not None:
            sparsify(current, samples, options, config, account, progress)
        tidy(current)
        check(current)
        after = cost(current)
        account.count("params", before.params - after.params)
        account.count("macs", before.macs - after.macs)
    return current, account


def _round(
    original: ir.Model,
    current: ir.Model,
    kept: Kept,
    samples: Samples | None,
    options: PruneOptions,
    turn: int,
    config: SessionConfig,
    surveys: Surveys,
    account: Account,
    progress: Progress,
) -> tuple[ir.Model, Kept]:
    """One turn of: score, choose, remove, repair."""
    decided = options.cuts is not None
    budget = None if decided else budget_of(options, original, samples, config, (turn + 1) / options.rounds)
    surveyed = survey(current, samples, options, config, surveys, progress, weighed=budget is not None)
    found, effects = surveyed.found, surveyed.effects
    account.declined += surveyed.account.declined
    account.warnings += surveyed.account.warnings
    if options.cuts is not None:
        cut = found.cut(*options.cuts[turn])
    elif budget is None:
        cut = below(found, surveyed.scored, options)
    else:
        choices = choices_of(found, effects, budget.savings(found, options.round_to), options)
        cut = meet(found, choices, budget, same=options.uniform)
        if (doubt := budget.doubt()) is not None:
            account.warnings.append(doubt)
    pruned = found.to_repair(cut)
    shapes.infer(pruned)
    _tell(found, effects, cut, account)
    kept = kept.then(found.analysis, cut.units)
    if samples is not None:
        restore(pruned, original, kept, samples, config, account, progress, forms=cut.forms, seed=options.seed)
    split(pruned, cut.forms)
    shapes.infer(pruned)
    return pruned, kept


def _tell(found: Candidates, effects: Effects, cut: Cut, account: Account) -> None:
    """Write down what went where."""
    account.details.setdefault("cuts", []).append([list(part) for part in cut.choice])
    account.count("units", int(cut.units.sum()))
    account.count("blocks", len(cut.blocks))
    account.details.setdefault("families", []).append(
        [
            {
                "node": curve.family.name,
                "units": len(curve.family),
                "removed": int(cut.units[curve.family.units].sum()),
                "effects": [[gone, float(f"{effect:.3g}")] for gone, effect in measured],
            }
            for curve, measured in zip(found.curves, effects.curves, strict=True)
        ]
    )
    if found.factored:
        account.count("layers in a cheaper form", len(cut.forms))
        account.details.setdefault("low_rank", []).append(
            [
                {
                    "node": one.node,
                    "form": None if (form := cut.forms.get(one.layer.raw)) is None else vars(form),
                    "options": [
                        {**vars(option.form), "macs": round(option.macs), "effect": float(f"{effect:.3g}")}
                        for option, effect in zip(one.options, measured, strict=True)
                    ],
                }
                for one, measured in zip(found.factored, effects.forms, strict=True)
            ]
        )
    if found.blocks:
        account.details.setdefault("blocks", []).append(
            [
                {
                    "block": block.exit,
                    "macs": block.macs,
                    "effect": float(f"{effect:.3g}"),
                    "dropped": block in cut.blocks,
                }
                for block, effect in zip(found.blocks, effects.blocks, strict=True)
            ]
        )


def _refuse_quantised(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        if "Quantize" in node.op_type or node.op_type.startswith("QLinear") or node.op_type.endswith("Integer"):
            raise UnsupportedError(
                f"{node.name or node.op_type}: the model is quantised", hint="prune before quantising"
            )
