"""Channels that go, and the repair of what stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.channels.analysis import units
from onnxslim.data.samples import Samples
from onnxslim.errors import UnsupportedError
from onnxslim.graph import shapes
from onnxslim.graph.cost import cost
from onnxslim.io import ModelLike
from onnxslim.progress import Progress, silent
from onnxslim.prune.blocks import droppable, tidy
from onnxslim.prune.budget import Budget, budget_of
from onnxslim.prune.candidates import Candidates, Cut
from onnxslim.prune.effect import Outputs
from onnxslim.prune.families import eligible, families
from onnxslim.prune.gram import HOLD
from onnxslim.prune.kept import Kept
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.plan import Effects, below, choices_of, measure, meet, unmeasured
from onnxslim.prune.rank import orders, scores
from onnxslim.prune.restore import restore
from onnxslim.prune.score import curves
from onnxslim.prune.zeros import sparsify
from onnxslim.runtime.session import SessionConfig, check

#: Samples on which candidates are compared by their effect on the outputs.
TUNE = 128


def prune(
    model: ModelLike,
    samples: Samples | None = None,
    options: PruneOptions | None = None,
    *,
    config: SessionConfig | None = None,
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
    config = config or SessionConfig()
    account = Account("prune")
    with account.timed():
        original = io.load(model)
        _refuse_quantised(original)
        if samples is None:
            account.warnings.append("no data: units are ranked by their weights alone, and nothing is repaired")
        before = cost(original)
        current, kept = original, Kept()
        for turn in range(options.rounds if options.channels else 0):
            budget = budget_of(options, original, samples, config, (turn + 1) / options.rounds)
            current, kept = _round(original, current, kept, samples, options, budget, config, account, progress)
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
    budget: Budget | None,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> tuple[ir.Model, Kept]:
    """One turn of: score, choose, remove, repair."""
    analysis = units(current, lossy=samples is not None)
    chosen, declined = eligible(families(analysis), cost(current).nodes, options.exclude, options.min_layer_params)
    for name, reason in declined.items():
        account.decline(name, reason)
    scored = scores(current, analysis, chosen, options.criterion, samples, config, options.seed)
    lines = curves(
        current, analysis, chosen, samples, config, account, progress, orders=orders(scored), seed=options.seed
    )
    whole = droppable(current, list(declined)) if samples is not None and not options.uniform else []
    found = Candidates(current, analysis, lines, whole, samples, config)
    effects = unmeasured(found)
    if budget is None:
        cut = below(found, scored, options)
    else:
        if samples is not None and not options.uniform:
            few = samples.take(np.arange(len(samples))[HOLD - 1 :: HOLD][:TUNE]) if len(samples) >= HOLD else samples
            effects = measure(found, Outputs(current, few, config), progress)
        choices = choices_of(found, effects, budget.savings(found, options.round_to), options)
        cut = meet(found, choices, budget, same=options.uniform)
    pruned = found.without(cut, means=True)
    shapes.infer(pruned)
    _tell(found, effects, cut, account)
    kept = kept.then(analysis, cut.units)
    if samples is not None:
        restore(pruned, original, kept, samples, config, account, progress, seed=options.seed)
    return pruned, kept


def _tell(found: Candidates, effects: Effects, cut: Cut, account: Account) -> None:
    """Write down what went where."""
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
