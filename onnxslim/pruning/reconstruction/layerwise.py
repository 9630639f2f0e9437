"""Repair of a pruned model: layer by layer, in the order of the graph, towards what the original gave out there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.core.step_report import StepReport
from onnxslim.graph.layers import LinearLayer
from onnxslim.pruning.importance.error_curves import MAX_GRAM_COLUMNS
from onnxslim.pruning.low_rank.factored_layers import factorize_weight
from onnxslim.pruning.low_rank.factorization import Factorization
from onnxslim.pruning.reconstruction.fold_moments import FoldMoments
from onnxslim.pruning.reconstruction.fold_rows import FoldRows
from onnxslim.pruning.reconstruction.least_squares import (
    LayerFit,
    cross_validated_error,
    fit_layer,
    match_moments,
    target_variance,
)
from onnxslim.pruning.reconstruction.regression_targets import RegressionTarget, find_targets
from onnxslim.pruning.reconstruction.sample_need import ENOUGH_SHARE, WORTH_SAYING, estimate_sample_need
from onnxslim.pruning.statistics.regression_rows import RegressionRows
from onnxslim.pruning.statistics.second_moments import HOLDOUT_PERIOD, SecondMoments
from onnxslim.runtime.memory import release_freed_memory

#: tensor name -> for each of its axes the slots that were kept, None for all
KeptSlots = Callable[[str], "tuple[np.ndarray | None, ...]"]


def reconstruct_layers(
    pruned: ir.Model,
    original: ir.Model,
    kept: KeptSlots,
    context: RunContext,
    *,
    factorizations: Mapping[str, Factorization] | None = None,
    seed: int = 0,
) -> StepReport:
    """Fit every layer of ``pruned`` whose input has changed, in place, towards the outputs of ``original``.

    Asymmetric least squares (He et al. 2017; Frantar & Alistarh 2022): inputs X as the pruned model now computes them,
    targets Y as the original gave them out, W* = Y Xᵀ (X Xᵀ + λI)⁻¹. So each layer also repairs what those before it
    could not. What exactly is compared is in :mod:`onnxslim.pruning.reconstruction.regression_targets`.

    Samples are divided into folds: how far each output is drawn back to the weights that came in is judged on every fold
    by weights fitted without it. What layers behind read is made by the weights that are kept.

    Args:
        pruned: What is left of the original; its tensors have kept their names.
        original: The model to come back to.
        kept: Which slots of the original's tensors are left.
        context: What both are fed with, and how they run.
        factorizations: Layers (:attr:`Layer.raw`) whose weights have to end up in a cheaper form.
        seed: Of the choice of positions.

    Returns:
        How many layers were fitted, each one's error before and after in ``details["repair"]`` (cross-validated, and
        ``seen`` on what it was fitted to), where data were too few.

    Raises:
        TimeLimitError: Not all could be repaired before the deadline: layers behind would be fitted to what is not mended.
    """
    report, samples = StepReport("repair"), context.require_samples("repair")
    if len(samples) < HOLDOUT_PERIOD:
        report.warnings.append(
            f"{len(samples)} samples: repair needs at least {HOLDOUT_PERIOD}, to judge by some what others say"
        )
        return report
    original_position = output_positions(original)
    regression_targets = find_targets(pruned, original, factorizations or ())
    pruned_executor = SegmentExecutor(pruned, samples, context.config)
    original_executor = SegmentExecutor(original, samples, context.config, shared=pruned_executor)
    pacer, fits = context.pace(), list[LayerFit]()
    for done, target in enumerate(regression_targets):
        pacer.require("repair")
        layer, reference = target.layer, target.reference_tensor
        pruned_batches = pruned_executor.run_segment(target.position, target.input_tensors)
        original_batches = original_executor.run_segment(original_position[layer.node_output], [reference])
        collected = FoldRows(target, len(samples), seed)
        for (indices, current), (_, before) in zip(pruned_batches, original_batches, strict=True):
            read = original_executor.find_read(indices)
            collected.add(indices, current, _take_kept(before[reference], kept(reference)), read=read)
            del current, before  # large, and not to be held beside the next
        folds = collected.finish()
        release_freed_memory()  # what the rows were joined from, before the fit needs as much
        part, fit = _fit_target(target, folds, (factorizations or {}).get(layer.node_output))
        del folds
        report.add(part)
        fits.append(fit)
        release_freed_memory()
        context.progress("repair", done + 1, len(regression_targets))
    need = estimate_sample_need([fit.error_seen for fit in fits], [fit.error for fit in fits], len(samples))
    if fits and need.variance_share > WORTH_SAYING:
        share, enough = f"{need.variance_share:.0%}", f"{float(f'{need.samples:.1g}'):.0f}"
        report.warnings.append(
            f"{len(samples)} samples: at least {share} of the error that repair leaves is for want of more; "
            f"some {enough} would leave {ENOUGH_SHARE:.0%}"
        )
    return report


def fit_takeover(target: RegressionTarget, executor: SegmentExecutor, position: int) -> None:
    """Fit one layer of a model without a block to what the block gave, in place, on all samples but those held back.

    Args:
        target: A layer of the model without the block; what it reads is as it was with the block.
        executor: Through the model with the block.
        position: Of the layer there.
    """
    names = [*target.input_tensors, target.reference_tensor]
    folds = FoldRows(target, executor.sample_count)
    for indices, tensors in executor.run_segment(position, names):
        folds.add(indices, tensors, tensors[target.reference_tensor], read=executor.find_read(indices))
    fit = _fit_rows(target.layer, folds.finish())
    # the effect is measured on the last of each five samples, which may not have seen to it
    target.layer.assign(fit.fold_weights.get(HOLDOUT_PERIOD - 1, fit.weight))


def output_positions(model: ir.Model) -> dict[str, int]:
    """The first output of each node -> the node's position."""
    return {str(node.outputs[0].name): position for position, node in enumerate(model.graph) if node.outputs}


def _fit_target(
    target: RegressionTarget, folds: Sequence[RegressionRows], factorization: Factorization | None
) -> tuple[StepReport, LayerFit]:
    """Fit one layer to its rows; what is to be told of that, and the fit."""
    layer, report, count = target.layer, StepReport("repair"), sum(map(len, folds))
    if layer.columns > MAX_GRAM_COLUMNS:
        report.skip(layer.name, f"{layer.columns} columns are too many for least squares; only its means are repaired")
    result = _fit_rows(layer, folds)
    if factorization is not None:
        result = _factorize_fit(layer, factorization, folds, result)
    if count < layer.columns:
        report.warnings.append(f"{layer.name}: {count} rows for {layer.columns} columns; its least squares is regularised")
    before, after = (float(f"{error:.4g}") for error in (result.error_before, result.error))
    entry = {"node": layer.name, "before": before, "after": after, "damping": result.damping, "rescaled": result.rescaled}
    report.details["repair"] = [{**entry, "seen": float(f"{result.error_seen:.4g}")}]
    if factorization is not None or result.error < result.error_before:
        layer.assign(result.weight)
        report.count("layers repaired")
    return report, result


def _fit_rows(layer: LinearLayer, folds: Sequence[RegressionRows]) -> LayerFit:
    """Least squares, or for a layer too wide for a Gram matrix its means and variances alone."""
    fit = match_moments if layer.columns > MAX_GRAM_COLUMNS else fit_layer
    return fit(folds, layer.matrix())


def _factorize_fit(
    layer: LinearLayer, factorization: Factorization, folds: Sequence[RegressionRows], fit: LayerFit
) -> LayerFit:
    """``fit`` in a cheaper form."""
    moments = FoldMoments(folds)

    def factorize(weight: np.ndarray, rows: SecondMoments) -> np.ndarray:
        return factorize_weight(layer, factorization, weight, rows.xx[0] / max(rows.count, 1))

    weight = factorize(fit.weight, moments.total)
    judged = {fold: fold_weight for fold, fold_weight in fit.fold_weights.items() if fold in moments.judges}
    if not judged:
        return replace(fit, weight=weight, fold_weights={})
    fold_weights = {fold: factorize(fold_weight, moments.without(fold)) for fold, fold_weight in judged.items()}
    error = cross_validated_error(folds, fold_weights) / target_variance(folds, fold_weights)
    return replace(fit, weight=weight, fold_weights=fold_weights, error=error, error_seen=error)


def _take_kept(array: np.ndarray, kept: tuple[np.ndarray | None, ...]) -> np.ndarray:
    for axis, index in enumerate(kept):
        if index is not None:
            array = np.take(array, index, axis=axis)
    return array
