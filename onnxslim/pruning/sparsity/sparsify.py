"""Zeros written into a model's layers; the mathematics is in :mod:`onnxslim.pruning.sparsity.masks`."""

from __future__ import annotations

import re
import zlib

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.core.errors import GateError
from onnxslim.core.step_report import StepReport
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.model_io import model_file
from onnxslim.pruning.importance.error_curves import MAX_GRAM_COLUMNS
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.sparsity.masks import allocate_sparsity, apply_sparsegpt
from onnxslim.pruning.sparsity.pattern import parse_sparsity
from onnxslim.pruning.statistics.layer_moments import collect_moments, invert_moments

#: Layers whose outputs read fewer inputs than this (a first or a depthwise convolution) have none to spare.
MIN_INPUT_COLUMNS = 32


def sparsify(model: ir.Model, context: RunContext, options: PruneOptions, report: StepReport) -> None:
    """Set to zero, in place, what ``options.sparsity`` asks for.

    How much goes from each layer is what the smallest weights over all layers say, or the same everywhere
    (``uniform``). Which of a layer's weights go: with samples SparseGPT decides, layer by layer in the order of the
    graph, on inputs as they then are; without, their magnitude.
    """
    bytes_before = _compressed_size(model)
    selected_layers = {}
    for position, layer in find_linear_layers(model.graph).items():
        reason = _reason_to_skip(layer, options)
        if reason is None:
            selected_layers[layer] = position
        else:
            report.skip(layer.name, reason)
    if not selected_layers:
        raise GateError(f"--sparsity {options.sparsity}: no layer is left to sparsify", hint="--explain says why of each")
    matrices = {layer: layer.matrix() for layer in selected_layers}
    sparsity = parse_sparsity(options.sparsity or 0.0)
    weight_matrices = [matrix[..., :-1] for matrix in matrices.values()]
    share = sparsity.share or 0.0
    layer_shares = [share] * len(selected_layers) if options.uniform else allocate_sparsity(weight_matrices, share)
    executor = None if context.samples is None else SegmentExecutor(model, context.samples, context.config)
    for done, ((layer, matrix), layer_share) in enumerate(zip(matrices.items(), layer_shares, strict=True)):
        columns = matrix.shape[2] - 1
        # as hardware groups them: along input channels, one kernel position after another
        order = np.arange(columns).reshape(-1, layer.kernel_size).T.ravel()
        mask_rule = sparsity.make_mask_rule(layer_share)
        if executor is None:
            flat = matrix.reshape(-1, columns + 1)[:, order]
            matrix[..., order] = (flat * mask_rule(flat, np.abs(flat))).reshape(*matrix.shape[:2], columns)
        else:
            fitted, held_out = collect_moments(layer, selected_layers[layer], executor, options.seed)
            inverse = invert_moments(fitted.mean_xx, held_out.mean_xx if held_out.count else None)
            with_bias = np.append(order, columns)
            for group, weight in enumerate(matrix):
                permuted_inverse = inverse[group][np.ix_(with_bias, with_bias)]
                matrix[group][:, with_bias] = apply_sparsegpt(
                    weight[:, with_bias], permuted_inverse, mask_rule, column_multiple=sparsity.column_multiple,
                    columns=columns,
                )  # fmt: skip
        layer.assign(matrix)
        context.progress("zeros", done + 1, len(matrices))
    zeros = sum(int((layer.matrix()[..., :-1] == 0).sum()) for layer in selected_layers)
    bytes_after = _compressed_size(model)
    report.count("zeros", zeros)
    report.details["zeros"] = {"weights": zeros, "compressed_bytes": [bytes_before, bytes_after]}
    report.warnings.append(
        f"{zeros} zeros make the compressed file {bytes_before} -> {bytes_after} bytes; onnxruntime runs them no faster"
    )


def _reason_to_skip(layer: LinearLayer, options: PruneOptions) -> str | None:
    """Why a layer keeps all of its weights, or None."""
    size, weight = layer.weight.size, layer.node.inputs[1]
    if any(re.search(pattern, layer.name) for pattern in options.exclude):
        return "excluded"
    if not MIN_INPUT_COLUMNS <= layer.columns <= MAX_GRAM_COLUMNS:
        return f"{layer.columns} inputs to each output, outside {MIN_INPUT_COLUMNS} to {MAX_GRAM_COLUMNS}"
    if size < options.min_layer_params:
        return f"{size} parameters, below --min-layer-params"
    if weight is not None and len(weight.uses()) > 1:
        return "its weight is shared, and each reader would get a copy of its own"
    return None


def _compressed_size(model: ir.Model) -> int:
    return len(zlib.compress(model_file.to_bytes(model), 6))
