"""Zeros written into a model's layers; the mathematics is in :mod:`onnxslim.prune.weights`."""

from __future__ import annotations

import re
import zlib

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import GateError
from onnxslim.progress import Progress
from onnxslim.prune import layers as linear
from onnxslim.prune.layers import Layer
from onnxslim.prune.observe import inputs_of, inverse_of
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.score import WIDE
from onnxslim.prune.sparsity import parse
from onnxslim.prune.walk import Walk
from onnxslim.prune.weights import shares, sparse
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
    """Set to zero, in place, what ``options.sparsity`` asks for.

    How much goes from each layer is what the smallest weights over all layers say, or the same everywhere
    (``uniform``). Which of a layer's weights go: with samples SparseGPT decides, layer by layer in the order of the
    graph, on inputs as they then are; without, their magnitude.
    """
    before = _compressed(model)
    nodes = list(model.graph)
    chosen = []
    for layer in linear.find(model.graph):
        reason = _unsuited(layer, nodes[layer.position], options)
        if reason is None:
            chosen.append(layer)
        else:
            account.decline(layer.name, reason)
    if not chosen:
        raise GateError(
            f"--sparsity {options.sparsity}: no layer is left to sparsify", hint="--explain says why of each"
        )
    matrices = {layer: linear.matrix(layer, nodes[layer.position]) for layer in chosen}
    asked = parse(options.sparsity or 0.0)
    bare = [matrix[..., :-1] for matrix in matrices.values()]
    share = asked.share or 0.0
    going = [share] * len(chosen) if options.uniform else shares(bare, share)
    walk = Walk(model, samples, config) if samples is not None else None
    for done, ((layer, matrix), own) in enumerate(zip(matrices.items(), going, strict=True)):
        node = nodes[layer.position]
        columns = matrix.shape[2] - 1
        order = _neighbours(layer, columns)
        choice = asked.choice(own)
        if walk is None:
            flat = matrix.reshape(-1, columns + 1)[:, order]
            matrix[..., order] = (flat * choice(flat, np.abs(flat))).reshape(*matrix.shape[:2], columns)
        else:
            inverse = inverse_of(*inputs_of(layer, node, walk, options.seed))
            with_bias = np.append(order, columns)
            for group, weight in enumerate(matrix):
                turned = inverse[group][np.ix_(with_bias, with_bias)]
                matrix[group][:, with_bias] = sparse(
                    weight[:, with_bias], turned, choice, step=asked.step, columns=columns
                )
        linear.assign(layer, node, matrix)
        progress("zeros", done + 1, len(matrices))
    zeros = sum(int((linear.matrix(layer, nodes[layer.position])[..., :-1] == 0).sum()) for layer in chosen)
    after = _compressed(model)
    account.count("zeros", zeros)
    account.details["zeros"] = {"weights": zeros, "compressed_bytes": [before, after]}
    account.warnings.append(
        f"{zeros} zeros make the compressed file {before} -> {after} bytes; onnxruntime runs them no faster"
    )


def _unsuited(layer: Layer, node: ir.Node, options: PruneOptions) -> str | None:
    """Why a layer keeps all of its weights, or None."""
    size = linear.weight_of(node).size
    weight = node.inputs[1]
    if any(re.search(pattern, layer.name) for pattern in options.exclude):
        return "excluded"
    if not NARROW <= layer.columns <= WIDE:
        return f"{layer.columns} inputs to each output, outside {NARROW} to {WIDE}"
    if size < options.min_layer_params:
        return f"{size} parameters, below --min-layer-params"
    if weight is not None and len(weight.uses()) > 1:
        return "its weight is shared, and each reader would get a copy of its own"
    return None


def _neighbours(layer: Layer, columns: int) -> np.ndarray:
    """Columns in the order in which hardware groups them: along input channels, one kernel position after another."""
    return np.arange(columns).reshape(-1, layer.spread).T.ravel()


def _compressed(model: ir.Model) -> int:
    return len(zlib.compress(io.to_bytes(model), 6))
