"""Zeros written into a model's layers; the mathematics is in :mod:`onnxslim.prune.weights`."""

from __future__ import annotations

import re
import zlib

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.progress import Progress
from onnxslim.prune import layers as linear
from onnxslim.prune.layers import Layer
from onnxslim.prune.observe import inputs_of, inverse_of
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.score import WIDE
from onnxslim.prune.walk import Walk
from onnxslim.prune.weights import magnitude_masks, pattern_mask, sparse
from onnxslim.runtime.session import SessionConfig

#: Layers whose outputs read fewer inputs than this (a first or a depthwise convolution) have none to spare.
NARROW = 32


def sparsify(
    model: ir.Model,
    samples: Samples | None,
    options: PruneOptions,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> None:
    """Set the share of weights, or the pattern, in ``options.sparsity`` to zero, in place.

    With samples layer by layer in the order of the graph, by SparseGPT on inputs as they then are; without, the
    smallest over all layers (a pattern: of every few neighbours).
    """
    before = _compressed(model)
    nodes = list(model.graph)
    chosen = [layer for layer in linear.find(model.graph) if _suits(layer, nodes[layer.position], options)]
    matrices = {layer: linear.matrix(layer, nodes[layer.position]) for layer in chosen}
    share, pattern = options.zeros
    if samples is None:
        bare = [matrix[..., :-1] for matrix in matrices.values()]
        masks = magnitude_masks(bare, share)
        if pattern is not None:
            masks = [
                _pattern(w, _neighbours(layer, w.shape[2]), pattern) for layer, w in zip(chosen, bare, strict=True)
            ]
        for (layer, matrix), mask in zip(matrices.items(), masks, strict=True):
            matrix[..., :-1] *= mask
            linear.assign(layer, nodes[layer.position], matrix)
    else:
        walk = Walk(model, samples, config)
        for done, (layer, matrix) in enumerate(matrices.items()):
            node = nodes[layer.position]
            inverse = inverse_of(*inputs_of(layer, node, walk, len(samples), options.seed))
            columns = matrix.shape[2] - 1
            order = np.append(_neighbours(layer, columns), columns)
            for group, weight in enumerate(matrix):
                turned = sparse(weight[:, order], inverse[group][np.ix_(order, order)], share, pattern, columns=columns)
                matrix[group][:, order] = turned
            linear.assign(layer, node, matrix)
            progress("zeros", done + 1, len(matrices))
    zeros = sum(int((linear.matrix(layer, nodes[layer.position])[..., :-1] == 0).sum()) for layer in chosen)
    after = _compressed(model)
    account.count("zeros", zeros)
    account.details["zeros"] = {"weights": zeros, "compressed_bytes": [before, after]}
    account.warnings.append(
        f"{zeros} zeros make the compressed file {before} -> {after} bytes; onnxruntime runs them no faster"
    )


def _suits(layer: Layer, node: ir.Node, options: PruneOptions) -> bool:
    groups, outputs, width = linear.matrix(layer, node).shape
    if any(re.search(pattern, layer.name) for pattern in options.exclude):
        return False
    return bool(NARROW <= width - 1 <= WIDE and groups * outputs * (width - 1) >= options.min_layer_params)


def _pattern(weight: np.ndarray, order: np.ndarray, pattern: tuple[int, int]) -> np.ndarray:
    flat = np.abs(weight.reshape(-1, weight.shape[2]))
    mask = np.empty(flat.shape, bool)
    mask[:, order] = pattern_mask(flat[:, order], *pattern)
    return mask.reshape(weight.shape)


def _neighbours(layer: Layer, columns: int) -> np.ndarray:
    """Columns in the order in which hardware groups them: along input channels, one kernel position after another."""
    return np.arange(columns).reshape(-1, layer.spread).T.ravel()


def _compressed(model: ir.Model) -> int:
    return len(zlib.compress(io.to_bytes(model), 6))
