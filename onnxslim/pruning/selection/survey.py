"""What may go from a model, and what each of it would do to the outputs: all of a pruning that no budget decides.

It is the longer part of one, and the same for every share of the same model, so a search keeps it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.core.deadline import NO_TIME_LEFT
from onnxslim.core.errors import TimeLimitError
from onnxslim.core.step_report import Skipped
from onnxslim.core.workers import current_workers
from onnxslim.data.samples import Samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning.block_dropping import find_droppable
from onnxslim.pruning.channel_groups import find_channel_groups, select_eligible
from onnxslim.pruning.head_sorting import SortedHeads, survey_heads
from onnxslim.pruning.importance.error_curves import compute_error_curves
from onnxslim.pruning.importance.ranking import order_by_score, score_units
from onnxslim.pruning.low_rank.factored_layers import FactorizableLayer, find_factorizable
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.candidates import Candidates
from onnxslim.pruning.selection.distributed_effect import DistributedComparer
from onnxslim.pruning.selection.effects import Effects, initial_effects, measure_effects
from onnxslim.pruning.selection.latency import CHANNEL_MULTIPLE
from onnxslim.pruning.selection.output_effect import OutputComparer
from onnxslim.pruning.selection.widths import Widths
from onnxslim.pruning.statistics.second_moments import HOLDOUT_PERIOD

T = TypeVar("T")

#: Samples on which candidates are compared by their effect on the outputs.
MAX_EVALUATION_SAMPLES = 128
#: What a repair takes, over what it takes to score: each layer is run and fitted, in the old model and in the new.
_REPAIR_SHARE = 1.5
#: One of the plain model, and one with cheaper forms.
_MAX_SURVEYS = 2


@dataclass(frozen=True)
class Survey:
    """What may go from one model.

    Attributes:
        candidates: Everything that may.
        criterion_scores: What the criterion says of the units, by position of their curve; empty under ``obs``.
        effects: What each does to the outputs; unmeasured where no budget weighs them.
        skipped: Families that may not go.
        warnings: Where the data are too few.
        widths: How families may be cut, as far as it was measured (:func:`~onnxslim.pruning.selection.widths.plan_widths`).
    """

    candidates: Candidates
    criterion_scores: Mapping[int, np.ndarray]
    effects: Effects
    skipped: list[Skipped]
    warnings: list[str]
    widths: dict[str, Widths] = field(default_factory=dict)


@dataclass(frozen=True)
class Surveys:
    """What is known of models from prunings on one set of samples; of the latest few.

    Attributes:
        known: By model and options.
        heads: How the heads of a model are sorted, by the same.
    """

    known: dict[str, Survey] = field(default_factory=dict)
    heads: dict[str, SortedHeads] = field(default_factory=dict)


def survey_known_heads(model: ir.Model, context: RunContext, options: PruneOptions, cache: Surveys) -> SortedHeads:
    """How the heads of ``model`` are sorted: as ``cache`` says, or measured, which is added; the rest as in
    :func:`survey_candidates`.
    """
    key = f"{_digest(model)} {(options.exclude, options.samples, options.seed)}"
    if key not in cache.heads:
        _remember(cache.heads, key, survey_heads(model, context, options.exclude))
    return cache.heads[key]


def survey_candidates(
    model: ir.Model, context: RunContext, options: PruneOptions, cache: Surveys, *, has_budget: bool
) -> Survey:
    """The survey of ``model``: one that is ``cache``, or a new one, which is added.

    Args:
        model: With named nodes; it is not changed.
        context: How the model runs; its samples, if any, are those of all that is in ``cache``.
        options: Of the step.
        cache: What was found out before.
        has_budget: Whether a budget is to weigh candidates against each other.
    """
    relevant_options = replace(
        options, remove=0.5, of=None, max_size=None, threshold=None, redundancy=None, sparsity=None, rounds=1, cuts=None,
    )  # fmt: skip
    key = f"{_digest(model)} {relevant_options} {has_budget}"
    if key in cache.known:
        return cache.known[key]
    samples, config, started = context.samples, context.config, time.monotonic()
    analysis = analyze_channels(model, lossy=samples is not None)
    eligible_families, reasons = select_eligible(
        find_channel_groups(analysis), compute_cost(model).nodes, options.exclude, options.min_layer_params
    )
    criterion_scores = score_units(model, context, analysis, eligible_families, options.criterion, options.seed)
    error_curves, warnings = compute_error_curves(
        model, context, analysis, eligible_families, orders=order_by_score(criterion_scores), seed=options.seed
    )
    blocks = find_droppable(model, list(reasons)) if samples is not None and not options.uniform else []
    factorizable: list[FactorizableLayer] = []
    if options.low_rank and not options.uniform:
        rank_multiple = options.round_to if isinstance(options.round_to, int) else CHANNEL_MULTIPLE
        excluded = [n.name or "" for n in model.graph if any(re.search(p, n.name or "") for p in options.exclude)]
        factorizable = find_factorizable(model, context, excluded=excluded, round_to=rank_multiple, seed=options.seed)
    all_candidates = Candidates(model, analysis, error_curves, blocks, samples, config, factorizable)
    effects, is_complete = initial_effects(all_candidates), True
    if has_budget and samples is not None and not options.uniform:
        evaluation_samples, workers = _held_out_samples(samples), current_workers()
        outputs = (
            DistributedComparer(model, evaluation_samples, config, workers)
            if workers.is_out_of_process
            else OutputComparer(model, evaluation_samples, config)
        )
        reserved = _REPAIR_SHARE * (time.monotonic() - started)
        effects = measure_effects(all_candidates, outputs, context.progress, context.pace(reserved))
        is_complete = not effects.unmeasured
        if not is_complete and not any(effects.curves):
            raise TimeLimitError(f"weigh what may go: {NO_TIME_LEFT}", hint="give a longer --budget")
        if not is_complete:
            warnings.append(f"{NO_TIME_LEFT} to weigh {effects.unmeasured} of the ways to prune: what they would take stays")
        if not effects.are_comparable():
            effects = initial_effects(all_candidates)
            warnings.append(
                "with every candidate the outputs have another shape, or are not finite: what goes is chosen by the errors "
                "of the layers themselves"
            )
    # the repaired weights were for measuring alone, and are several times the model
    light_curves = [replace(curve, weights={}) for curve in error_curves]
    skipped = [Skipped(name, reason) for name, reason in reasons.items()]
    survey = Survey(replace(all_candidates, curves=light_curves), criterion_scores, effects, skipped, warnings)
    if is_complete:  # else another time there may be more time
        _remember(cache.known, key, survey)
    return survey


def _digest(model: ir.Model) -> str:
    return hashlib.sha256(model_file.to_bytes(model)).hexdigest()


def _remember(known: dict[str, T], key: str, found: T) -> None:
    """Add ``found``, and let go of the oldest where there are too many."""
    known[key] = found
    for oldest in list(known)[:-_MAX_SURVEYS]:
        del known[oldest]


def _held_out_samples(samples: Samples) -> Samples:
    """Those on which nothing is fitted, where they fill a batch."""
    held_out = np.arange(len(samples))[HOLDOUT_PERIOD - 1 :: HOLDOUT_PERIOD][:MAX_EVALUATION_SAMPLES]
    return samples.take(held_out) if len(held_out) >= (samples.fixed_batch or 1) else samples
