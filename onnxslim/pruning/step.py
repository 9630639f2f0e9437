"""Channels that go, and the repair of what stays."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace

import onnx_ir as ir

from onnxslim.activations.padding import trim_padding
from onnxslim.activations.run_context import RunContext
from onnxslim.core.deadline import NO_TIME_LEFT
from onnxslim.core.errors import InvalidDataError, UnsupportedError, UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_samples
from onnxslim.graph import shapes
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.finite_weights import check_finite_weights
from onnxslim.graph.signature import lend_ranks, list_declared, restore_declared
from onnxslim.graph.stored_weights.unpacking import pack_weights, unpack_weights
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.model_io.model_file import ModelLike
from onnxslim.pruning.block_dropping import remove_leftovers
from onnxslim.pruning.head_sorting import sort_head_channels
from onnxslim.pruning.idle_units import finds_idle_units, remove_idle_units
from onnxslim.pruning.low_rank.factored_layers import split_layers
from onnxslim.pruning.low_rank.merge_linear import merge_layers
from onnxslim.pruning.options import PruneDecision, PruneOptions
from onnxslim.pruning.reconstruction.kept_channels import KeptChannels
from onnxslim.pruning.reconstruction.layerwise import reconstruct_layers
from onnxslim.pruning.selection.budget import make_budget, settle_counting
from onnxslim.pruning.selection.candidates import Candidates, PruningDecision
from onnxslim.pruning.selection.effects import Effects
from onnxslim.pruning.selection.pacing import BudgetPace
from onnxslim.pruning.selection.plan import list_choices, meet_budget, select_below_threshold
from onnxslim.pruning.selection.survey import Surveys, survey_candidates, survey_known_heads
from onnxslim.pruning.selection.widths import plan_widths
from onnxslim.pruning.sparsity.sparsify import sparsify
from onnxslim.pruning.state_units import close_states, open_states
from onnxslim.runtime.session import SessionConfig, check_loads

_CUTS_HINT = "a replay needs the same model and options; leave cuts out to choose anew"
#: What a budget may take, as it is counted in the report.
_REMOVED_KINDS = {_UNITS := "units", _BLOCKS := "blocks", _CHEAPER_LAYERS := "layers in a cheaper form"}


def prune(
    model: ModelLike,
    samples: Samples | None,
    options: PruneOptions,
    *,
    config: SessionConfig | None = None,
    surveys: Surveys | None = None,
    whole: ir.Model | None = None,
    kept_inputs: Collection[str] = (),
    progress: Progress = ignore_progress,
    deadline: float | None = None,
) -> tuple[ir.Model, StepReport]:
    """``model`` with channels removed until the budget is met, and what is left repaired towards its outputs.

    Units (see :mod:`onnxslim.channels`) are ranked within their family by Optimal Brain Surgeon on all layers that read
    them, families are weighed by what their removal does to the model's outputs, a knapsack takes the least harmful set
    that meets the budget, and least squares fits every layer behind to the outputs it used to have. No labels are read.

    Args:
        model: What to prune; it is not changed. Simplify it first: a folded graph has more to remove.
        samples: Inputs to score and repair with, some hundreds; without them units are ranked by their weights alone,
            nothing is repaired, and nothing timed. Random ones are for timing alone.
        options: The budget and how to spend it.
        config: How the model runs while it is observed.
        surveys: What is known of models from other prunings with the same samples, and is added to.
        whole: The model that the budget speaks of; by default ``model``. Where exact steps took channels that no output
            depends on, it is the model with them, and they count towards what is to go.
        kept_inputs: Inputs that stay inputs although initializers of these names are their defaults, beside those that
            ``samples`` feed; others of the kind become constants.
        progress: Called as the stages go on.
        deadline: On ``time.monotonic``'s clock: what is not weighed in time for the repair stays as it is, and that is said.

    Returns:
        The pruned model and the report: counts, ``details["families"]`` with what went where, ``details["repair"]``
        with each layer's relative error before and after.

    Raises:
        UsageError: An option is wrong, an exclude matches nothing, the criterion needs data.
        UnsupportedError: The model is quantised.
        InvalidModelError: A weight is NaN or infinite.
        InvalidDataError: The recorded cuts are of another model.
        GateError: The budget cannot be met; says how much can go and what holds the rest.
        TimeLimitError: Heads were not sorted, or scores or repair not done, by the deadline.
    """
    if samples is not None and options.samples is not None and options.samples < len(samples):
        samples = samples.take(draw_samples(samples, options.samples, options.seed))
    timing = RunContext(samples, config or SessionConfig(), progress, deadline)
    context = replace(timing, samples=None if samples is None or samples.is_random else samples)
    surveys = surveys or Surveys()
    report = StepReport("prune")
    with report.timed():
        original = model_file.load(model)
        report.warnings += timing.freeze_inputs(original, kept_inputs)
        declared, ranks = list_declared(original), {} if samples is None else samples.ranks
        stored, known = unpack_weights(original), shapes.list_known(original)
        lend_ranks(original, ranks)
        if whole is not None and None in declared.values():
            lend_ranks(whole := whole.clone(), ranks)
        if stored and options.max_size is not None:
            text = f"--max-size: {len(stored)} weights of the model are stored in fewer bits already"
            raise UsageError(text, hint="--remove 30% --of params")
        _reject_quantized(original)
        name_nodes(original.graph)
        check_finite_weights(original)
        if context.samples is None and options.channels:
            what = "no data" if samples is None else "random data"
            report.warnings.append(f"{what}: units are ranked by their weights alone, and nothing is repaired")
        if options.of is not None and options.remove is None:
            report.warnings.append(f"of {options.of}: --remove is a share of it, and nothing else is counted by it")
        if options.cuts is not None and not options.channels:
            raise InvalidDataError("prune: cuts without a budget for channels", hint=_CUTS_HINT)
        options, caution = settle_counting(original, timing, options)
        report.warnings += [caution] if caution else []
        report.decision = PruneDecision((), by_clock=caution is not None and samples is not None, of=options.of)
        if context.samples is not None and options.channels:
            # what is timed is not what is fitted to: a service runs the padding too
            context = replace(context, samples=trim_padding(original, context.samples, context.config))
        before = compute_cost(original)
        states = open_states(original, {} if samples is None or not options.channels else samples.state)
        if options.low_rank:
            original, merged_count = merge_layers(original, options.exclude)
            report.count("layers merged", merged_count)
        current, whole = original, whole or original
        if options.channels and not finds_idle_units(options, has_data=context.samples is not None):
            original, idle = remove_idle_units(original, options)
            report.add(idle)
        if options.has_budget and finds_idle_units(options, has_data=context.samples is not None):
            heads = survey_known_heads(original, context, options, surveys)
            dense, (original, sorted_heads) = original, sort_head_channels(original, heads)
            whole = original if whole is dense else whole
            report.add(sorted_heads)
        if options.channels:
            current = _prune_channels(original, whole, (context, timing), options, surveys, report)
        if options.sparsity is not None:
            sparsify(current, context, options, report)
        report.add(close_states(current, states))
        remove_leftovers(current)
        shapes.keep_known(current, known)
        pack_weights(current, stored, changed=True)
        restore_declared(current, declared)
        check_loads(current)
        after = compute_cost(current)
        report.count("params", before.params - after.params)
        report.count("macs", before.macs - after.macs)
    return current, report


def _prune_channels(
    original: ir.Model,
    whole: ir.Model,
    contexts: tuple[RunContext, RunContext],
    options: PruneOptions,
    surveys: Surveys,
    report: StepReport,
) -> ir.Model:
    """In rounds: score, choose, remove, repair. A budget speaks of ``whole``; ``contexts`` are what is observed and what
    is timed.
    """
    (context, timing), current, kept = contexts, original, KeptChannels()
    if options.cuts is not None and len(options.cuts) != options.rounds:
        count = len(options.cuts)
        text = f"prune: the cuts are of another model or other options: of {count} rounds, expected {options.rounds}"
        raise InvalidDataError(text, hint=_CUTS_HINT)
    for round_index in range(options.rounds):
        is_replay, round_share = options.cuts is not None, (round_index + 1) / options.rounds
        budget = None if is_replay else make_budget(whole, timing, options, round_share)
        started = time.monotonic()
        survey_result = survey_candidates(current, context, options, surveys, has_budget=budget is not None)
        candidates, effects = survey_result.candidates, survey_result.effects
        # one that a deadline cut short is not kept for others
        seconds = 0.0 if effects.unmeasured else time.monotonic() - started
        report.decision = replace(report.decision, survey_seconds=report.decision.survey_seconds + seconds)
        report.skipped += survey_result.skipped
        report.warnings += survey_result.warnings
        if options.cuts is not None:
            try:
                decision = candidates.make_decision(*options.cuts[round_index])
            except (IndexError, TypeError, ValueError):
                raise InvalidDataError("prune: the cuts are of another model", hint=_CUTS_HINT) from None
        else:
            widths = plan_widths(candidates, options, timing, survey_result.widths)
            report.details["kept_multiple"] = widths.multiple
            if widths.seconds is not None:
                report.decision = replace(report.decision, by_clock=True)
            if widths.unmeasured:
                report.warnings.append(f"{NO_TIME_LEFT} to time the widths of {widths.unmeasured} families")
            if budget is None:
                decision = select_below_threshold(candidates, survey_result.criterion_scores, widths, options)
            else:
                choices = list_choices(candidates, effects, budget.savings(candidates, widths), options)
                pace = BudgetPace(timing)
                kept_cut = meet_budget(candidates, choices, budget, is_uniform=options.uniform, pace=pace)
                decision = kept_cut.cut
                if pace.has_refused:
                    report.decision = replace(report.decision, by_clock=True)
                if (warning := budget.describe_doubt(kept_cut, out_of_time=pace.has_refused)) is not None:
                    report.warnings.append(warning)
        pruned = candidates.build_for_repair(decision)
        shapes.infer(pruned)
        _report_decision(candidates, effects, decision, report)
        kept = kept.after_removing(candidates.analysis, decision.units)
        if context.samples is not None:
            factorizations, seed = decision.factorizations, options.seed
            report.add(reconstruct_layers(pruned, original, kept, context, factorizations=factorizations, seed=seed))
        split_layers(pruned, decision.factorizations)
        shapes.infer(pruned)
        current = pruned
    if whole is not original and options.has_budget and not report.changed.keys() & _REMOVED_KINDS:
        report.warnings.append("nothing live had to go: channels that say nothing are as much as was asked, or more")
    return current


def _report_decision(candidates: Candidates, effects: Effects, decision: PruningDecision, report: StepReport) -> None:
    """Write down what went where."""
    entry = [list(part) for part in decision.recipe_entry]
    by_clock = report.decision.by_clock or effects.unmeasured > 0
    report.decision = replace(report.decision, cuts=(*report.decision.cuts, entry), by_clock=by_clock)
    report.details.setdefault("cuts", []).append(entry)
    report.count(_UNITS, int(decision.units.sum()))
    report.count(_BLOCKS, len(decision.blocks))
    report.details.setdefault("families", []).append(
        [
            {
                "node": curve.group.name,
                "units": len(curve.group),
                "removed": int(decision.units[curve.group.units].sum()),
                "effects": [[gone, float(f"{effect:.3g}")] for gone, effect in measured_effects],
            }
            for curve, measured_effects in zip(candidates.curves, effects.curves, strict=True)
        ]
    )
    if candidates.factorizable:
        report.count(_CHEAPER_LAYERS, len(decision.factorizations))
        report.details.setdefault("low_rank", []).append(
            [
                {
                    "node": factorizable.node,
                    "form": None
                    if (factorization := decision.factorizations.get(factorizable.layer.node_output)) is None
                    else vars(factorization),
                    "options": [
                        {**vars(option.factorization), "macs": round(option.macs), "effect": float(f"{effect:.3g}")}
                        for option, effect in zip(factorizable.options, measured_effects, strict=True)
                    ],
                }
                for factorizable, measured_effects in zip(candidates.factorizable, effects.factorizations, strict=True)
            ]
        )
    if candidates.blocks:
        report.details.setdefault("blocks", []).append(
            [
                {
                    "block": block.exit,
                    "macs": block.macs,
                    "effect": float(f"{effect:.3g}"),
                    "dropped": block in decision.blocks,
                }
                for block, effect in zip(candidates.blocks, effects.blocks, strict=True)
            ]
        )


def _reject_quantized(model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        if "Quantize" in node.op_type or node.op_type.startswith("QLinear") or node.op_type.endswith("Integer"):
            raise UnsupportedError(f"{node.name or node.op_type}: the model is quantised", hint="prune before quantising")
