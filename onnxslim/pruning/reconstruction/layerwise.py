"""Repair of a pruned model: layer by layer, in the order of the graph, towards what the original gave out there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.core.step_report import StepReport
from onnxslim.graph.clip_bounds import find_flat_bounds
from onnxslim.graph.layers import LinearLayer
from onnxslim.pruning.importance.error_curves import MAX_GRAM_COLUMNS
from onnxslim.pruning.low_rank.factored_layers import factorize_weight
from onnxslim.pruning.low_rank.factorization import Factorization
from onnxslim.pruning.reconstruction.least_squares import fit_layer, match_moments
from onnxslim.pruning.reconstruction.regression_targets import RegressionTarget, find_targets
from onnxslim.pruning.statistics.layer_moments import sample_rows
from onnxslim.pruning.statistics.regression_rows import RegressionRows
from onnxslim.pruning.statistics.second_moments import HOLDOUT_PERIOD, holdout_mask, positions_per_sample
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

    Args:
        pruned: What is left of the original; its tensors have kept their names.
        original: The model to come back to.
        kept: Which slots of the original's tensors are left.
        context: What both are fed with, where one sample in five chooses λ, and how they run.
        factorizations: Layers (:attr:`Layer.raw`) whose weights have to end up in a cheaper form.
        seed: Of the choice of positions.

    Returns:
        How many layers were fitted, each one's error before and after in ``details["repair"]``, where data were too few.

    Raises:
        TimeLimitError: Not all could be repaired before the deadline: layers behind would be fitted to what is not mended.
    """
    report, samples = StepReport("repair"), context.require_samples("repair")
    if len(samples) < HOLDOUT_PERIOD:
        report.warnings.append(f"{len(samples)} samples: repair needs at least {HOLDOUT_PERIOD}, of which one is held back")
        return report
    original_position = output_positions(original)
    regression_targets = find_targets(pruned, original, factorizations or ())
    pruned_executor = SegmentExecutor(pruned, samples, context.config)
    original_executor = SegmentExecutor(original, samples, context.config, shared=pruned_executor)
    pacer = context.pace()
    for done, target in enumerate(regression_targets):
        pacer.require("repair")
        layer = target.layer
        pruned_batches = pruned_executor.run_segment(target.position, target.input_tensors)
        original_batches = original_executor.run_segment(original_position[layer.node_output], [target.reference_tensor])
        batches = (
            (indices, current, reference[target.reference_tensor])
            for (indices, current), (_, reference) in zip(pruned_batches, original_batches, strict=True)
        )
        factorization = (factorizations or {}).get(layer.node_output)
        report.add(_fit_target(target, batches, kept(target.reference_tensor), len(samples), factorization, seed))
        release_freed_memory()
        context.progress("repair", done + 1, len(regression_targets))
    return report


def fit_takeover(target: RegressionTarget, executor: SegmentExecutor, position: int) -> None:
    """Fit one layer of a model without a block to what the block gave, in place.

    Args:
        target: A layer of the model without the block; what it reads is as it was with the block.
        executor: Through the model with the block.
        position: Of the layer there.
    """
    names = [*target.input_tensors, target.reference_tensor]
    batches = (
        (indices, tensors, tensors[target.reference_tensor]) for indices, tensors in executor.run_segment(position, names)
    )
    _fit_target(target, batches, (), executor.sample_count)


def output_positions(model: ir.Model) -> dict[str, int]:
    """The first output of each node -> the node's position."""
    return {str(node.outputs[0].name): position for position, node in enumerate(model.graph) if node.outputs}


def _fit_target(
    target: RegressionTarget,
    batches: Iterable[tuple[range, Mapping[str, np.ndarray], np.ndarray]],
    kept: tuple[np.ndarray | None, ...],
    samples: int,
    factorization: Factorization | None = None,
    seed: int = 0,
) -> StepReport:
    """Fit one layer to what was ``batches``: (samples, what there is now, what there was)."""
    layer = target.layer
    initial_weight = layer.matrix()
    per_sample = positions_per_sample(layer.columns, samples, layer.groups)
    fitted_parts: list[list[np.ndarray]] = []
    held_parts: list[list[np.ndarray]] = []
    first_sample = 0
    for indices, current, reference in batches:
        x = current[layer.input]
        outputs = [_take_kept(reference, kept), *(current[name] for name in target.input_tensors[1:])]
        input_rows, output_rows = sample_rows(layer, x, outputs, per_sample, first_sample, seed)
        held_mask = holdout_mask(indices, input_rows.shape[1])
        for parts, mask in ((fitted_parts, ~held_mask), (held_parts, held_mask)):
            parts.append([array[:, mask] for array in (input_rows, *output_rows)])
        first_sample += len(x)
    bounds = find_flat_bounds(target.output)
    rows, held_out = (_join_rows(parts, bounds, layer.has_bias) for parts in (fitted_parts, held_parts))
    return _fit_layer(layer, rows, held_out, initial_weight, factorization)


def _join_rows(parts: list[list[np.ndarray]], bounds: tuple[float, float], has_bias: bool) -> RegressionRows:
    """The rows of all batches, which are let go of: x, y and, where there is a sum, its other side, which is taken off."""
    x, y, *others = (_join_parts(parts, number) for number in range(len(parts[0])))
    if not others:
        return RegressionRows(x, y, *bounds, has_bias, overwrite_x=True)
    low, high = (edge - others[0] if np.isfinite(edge) else edge for edge in bounds)
    return RegressionRows(x, y - others[0], low, high, has_bias, overwrite_x=True)


def _join_parts(parts: list[list[np.ndarray]], number: int) -> np.ndarray:
    """Array ``number`` of each of ``parts`` along the rows; each is let go of as soon as it is copied."""
    arrays = [part[number] for part in parts]
    groups, _, columns = arrays[0].shape
    result = np.empty((groups, sum(array.shape[1] for array in arrays), columns), np.result_type(*arrays))
    del arrays
    start = 0
    for part in parts:
        stop = start + part[number].shape[1]
        result[:, start:stop], part[number], start = part[number], result[:, :0], stop
    return result


def _fit_layer(
    layer: LinearLayer,
    rows: RegressionRows,
    held_out: RegressionRows,
    initial_weight: np.ndarray,
    factorization: Factorization | None,
) -> StepReport:
    report = StepReport("repair")
    if rows.columns > MAX_GRAM_COLUMNS:
        report.skip(layer.name, f"{rows.columns} columns are too many for least squares; only its means are repaired")
        result = match_moments(rows, held_out, initial_weight)
    else:
        result = fit_layer(rows, held_out, initial_weight)
    if factorization is not None:
        all_moments = rows.moments() + held_out.moments()
        weight = factorize_weight(layer, factorization, result.weight, all_moments.xx[0] / max(all_moments.count, 1))
        error = held_out.squared_error(weight) / max(held_out.moments().variance(), 1e-300)
        result = replace(result, weight=weight, error=error)
    if len(rows) < rows.columns:
        report.warnings.append(
            f"{layer.name}: {len(rows)} rows for {rows.columns} columns; its least squares is regularised"
        )
    before, after = (float(f"{error:.4g}") for error in (result.error_before, result.error))
    entry = {"node": layer.name, "before": before, "after": after, "damping": result.damping, "rescaled": result.rescaled}
    report.details["repair"] = [entry]
    if factorization is not None or result.error < result.error_before:
        layer.assign(result.weight)
        report.count("layers repaired")
    return report


def _take_kept(array: np.ndarray, kept: tuple[np.ndarray | None, ...]) -> np.ndarray:
    for axis, index in enumerate(kept):
        if index is not None:
            array = np.take(array, index, axis=axis)
    return array
