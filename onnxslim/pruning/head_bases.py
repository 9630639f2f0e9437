"""Another basis inside each head, in which what says least comes last: exact, and then the size of heads can be cut.

Scores are q kᵀ, so (q M)(k M⁻ᵀ)ᵀ are the same for any M; values meet the next layer as a v Wᵀ, so (v M)(M⁻¹ Wᵀ) are too. A
head's channels as they were trained are all alike in weight, and cutting some of them loses as much as they are. In the
basis of singular vectors the last channels are what a head of that size cannot hold:

- of scores, those of Q Kᵀ over all pairs of places, from the second moments of q and k; k without its mean, which adds the
  same to all scores of a query, and Softmax takes no notice of;
- of values, those of the mixed values times W, from the covariance of the mixed values.

Truncated they are the best approximation of that rank (Eckart & Young 1936). One index goes from all heads alike, so what
heads lose is summed; sorted, each loses its own least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.pruning.attention_heads import HeadPair
from onnxslim.pruning.statistics.layer_moments import collect_moments

#: Directions with less energy than this share of the strongest count as that strong, so that no inverse blows up.
_MIN_SHARE = 1e-6


@dataclass(frozen=True)
class HeadBases:
    """Another basis for the heads of one pair of layers.

    Attributes:
        pair: The layers and their channels.
        first: float64 (heads, size, size): of each head the first layer's outputs y become y M.
        second: float64 (heads, size, size): so do the second layer's outputs (keys), or the columns W of its weight that
            read the head become W M.
    """

    pair: HeadPair
    first: np.ndarray
    second: np.ndarray

    def apply(self, layers: Mapping[int, LinearLayer]) -> None:
        """Change the two ``layers``, by position in the graph, in place."""
        _mix_outputs(layers[self.pair.first], self.pair.first_channels, self.first)
        if not self.pair.reads_values:
            _mix_outputs(layers[self.pair.second], self.pair.second_channels, self.second)
            return
        combined = layers[self.pair.second].matrix()
        for channels, basis in zip(self.pair.second_channels, self.second, strict=True):
            combined[0][:, channels] = combined[0][:, channels] @ basis
        layers[self.pair.second].assign(combined)


def find_bases(model: ir.Model, pairs: Sequence[HeadPair], context: RunContext) -> list[HeadBases]:
    """For each of ``pairs`` the bases in which the channels of its heads come in the order of what they say.

    Args:
        model: What the pairs are of; read only.
        pairs: Layers with heads.
        context: What the model is fed with; its samples tell what says how much.

    Raises:
        TimeLimitError: Not all could be measured before the deadline.
    """
    layers = find_linear_layers(model.graph)
    return [
        _sort_values(pair, layers[pair.second].matrix()[0], second)
        if pair.reads_values
        else _sort_scores(pair, first, second)
        for pair, (first, second) in zip(pairs, _measure_heads(model, pairs, context), strict=True)
    ]


def _measure_heads(model: ir.Model, pairs: Sequence[HeadPair], context: RunContext) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each pair the second moments of the first layer's outputs and the covariance of the second's, by head: float64
    (heads, size, size) each. Of values both are what the second layer reads.
    """
    layers = find_linear_layers(model.graph)
    executor = SegmentExecutor(model, context.require_samples("prune"), context.config)
    wanted: dict[int, list[tuple[int, bool]]] = {}
    for number, pair in enumerate(pairs):
        wanted.setdefault(pair.second, []).append((number, True))
        if not pair.reads_values:
            wanted.setdefault(pair.first, []).append((number, False))
    found: dict[tuple[int, bool], np.ndarray] = {}
    pacer = context.pace()
    for done, position in enumerate(sorted(wanted)):
        pacer.require("sort heads")
        fitted, held_out = collect_moments(layers[position], position, executor, 0)
        mean = (fitted + held_out).mean_xx[0]
        for number, is_second in wanted[position]:
            pair = pairs[number]
            if pair.reads_values:
                found[number, False] = found[number, True] = _block_moments(mean, pair.second_channels, centered=True)
                continue
            matrix = layers[position].matrix()[0]
            outputs = np.block(
                [[matrix @ mean @ matrix.T, (matrix @ mean[:, -1])[:, None]], [matrix @ mean[:, -1], np.ones(1)]]
            )
            channels = pair.second_channels if is_second else pair.first_channels
            found[number, is_second] = _block_moments(outputs, channels, centered=is_second)
        context.progress("sort heads", done + 1, len(wanted))
    return [(found[number, False], found[number, True]) for number in range(len(pairs))]


def _block_moments(mean: np.ndarray, channels: np.ndarray, *, centered: bool) -> np.ndarray:
    """Of moments (d + 1, d + 1) those of each head's channels (heads, size): float64 (heads, size, size)."""
    blocks = mean[channels[:, :, None], channels[:, None, :]]
    means = mean[channels, -1]
    return np.asarray(blocks - means[:, :, None] * means[:, None, :] if centered else blocks)


def _take_roots(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric root of ``moments`` (size, size), weak directions strengthened, and its inverse."""
    values, vectors = np.linalg.eigh(moments)
    roots = np.sqrt(np.maximum(values, _MIN_SHARE * max(float(values[-1]), 1e-30)))
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


def _sort_scores(pair: HeadPair, queries: np.ndarray, keys: np.ndarray) -> HeadBases:
    """The singular vectors of the products of queries and keys, each with the root of the values."""
    first, second = [], []
    for query_moments, key_moments in zip(queries, keys, strict=True):
        (query_root, query_inverse), (key_root, key_inverse) = _take_roots(query_moments), _take_roots(key_moments)
        left, sizes, right = np.linalg.svd(query_root @ key_root)
        scale = np.sqrt(np.maximum(sizes, _MIN_SHARE * max(float(sizes[0]), 1e-30)))
        # the second times the transposed first has to be one, so what strengthens one weakens the other
        first.append(query_inverse @ left * scale)
        second.append(key_inverse @ right.T * (sizes / scale))
    return HeadBases(pair, np.stack(first), np.stack(second))


def _sort_values(pair: HeadPair, weight: np.ndarray, mixed: np.ndarray) -> HeadBases:
    """The singular vectors of what the second layer, whose matrix is ``weight``, makes of values, all as strong."""
    first, second = [], []
    for moments, channels in zip(mixed, pair.second_channels, strict=True):
        root, inverse = _take_roots(moments)
        left, _sizes, _right = np.linalg.svd(root @ weight[:, channels].T)
        strength = np.sqrt(max(float(np.trace(moments)) / len(moments), 1e-30))
        first.append(inverse @ left * strength)
        second.append(root @ left / strength)
    return HeadBases(pair, np.stack(first), np.stack(second))


def _mix_outputs(layer: LinearLayer, channels: np.ndarray, bases: np.ndarray) -> None:
    """Give each head of ``layer`` the outputs y M in place of y."""
    combined = layer.matrix()
    for head, basis in zip(channels, bases, strict=True):
        combined[0][head] = basis.T @ combined[0][head]
    layer.assign(combined)
