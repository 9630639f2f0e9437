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

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import energy, is_float, relative_error, squared_error
from onnxslim.activations.run_context import RunContext
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.model_io import model_file
from onnxslim.pruning.attention_heads import HeadPair, find_head_pairs
from onnxslim.pruning.channel_groups import compile_excluded
from onnxslim.pruning.statistics.layer_moments import collect_moments
from onnxslim.runtime.session import Session, SessionConfig

#: Samples that moments are taken of, and those that the result is compared on.
_MAX_SAMPLES, _CHECKED_SAMPLES = 128, 4
#: What each output may differ by after an exact change: error over energy, rounding of float32 with room, and the share of
#: what is no float that may be another.
_MAX_ERROR, _MAX_OTHERS = 1e-6, 1e-3
#: Directions with less energy than this share of the strongest count as that strong, so that no inverse blows up.
_MIN_SHARE = 1e-6
#: Of tensors whose channels are in another basis.
_SUFFIX = "_sorted"


def sort_head_channels(model: ir.Model, context: RunContext, exclude: Sequence[str] = ()) -> tuple[ir.Model, StepReport]:
    """``model`` with the channels of every head in the order of what they say, the same to float rounding.

    Args:
        model: Not changed.
        context: What it is fed with; its samples tell what says how much.
        exclude: Regular expressions of node names; layers that match stay as they are, as do those that share a weight.

    Returns:
        The model, and how many heads changed; the model itself where none did, or where the outputs say it is not exact.
    """
    report, samples = StepReport("heads"), context.require_samples("prune")
    samples = samples.take(np.arange(samples.round_to_runs(min(len(samples), _MAX_SAMPLES))))
    feeds = dict(next(iter(samples.batches(1))))
    nodes, patterns = list(model.graph), compile_excluded(exclude)

    def may_change(node: ir.Node) -> bool:
        # of a weight that others read as well each layer would get one of its own
        weight = node.inputs[1]
        return weight is not None and len(weight.uses()) == 1 and not any(p.search(node.name or "") for p in patterns)

    pairs = [
        pair
        for pair in find_head_pairs(model, feeds, context.config)
        if may_change(nodes[pair.first]) and may_change(nodes[pair.second])
    ]
    if not pairs:
        return model, report
    result, moments = model_file.clone(model), _measure_heads(model, pairs, samples, context.config)
    layers, rename = find_linear_layers(result.graph), _make_renaming(result.graph)
    for pair, (first_moments, second_moments) in zip(pairs, moments, strict=True):
        first, second = layers[pair.first], layers[pair.second]
        change = _change_values if pair.reads_values else _change_scores
        change(pair, (first, second), first_moments, second_moments)
        # the channels are others than those of that name in the model that recovery learns from
        _rename_to_product(first.output, rename)
        if pair.reads_values:
            _rename_from_product(second.node.inputs[0], rename)
        else:
            _rename_to_product(second.output, rename)
        report.count("heads sorted", len(pair.first_channels))
    checked = samples.take(np.arange(samples.round_to_runs(_CHECKED_SAMPLES)))
    if not _gives_the_same(model, result, checked, context.config):
        kept = StepReport("heads")
        kept.skip(layers[pairs[0].first].name, "another basis inside its heads changes the outputs")
        return model, kept
    return result, report


def _gives_the_same(model: ir.Model, changed: ir.Model, samples: Samples, config: SessionConfig) -> bool:
    """Whether every output of both is the same, each measured by itself."""
    sessions, found = (Session(model, config), Session(changed, config)), dict[str, np.ndarray]()
    for batch in samples.batches(1):
        before, after = (session.run(dict(batch)) for session in sessions)
        for name, output in before.items():
            a, b = _list_arrays(output), _list_arrays(after[name])
            if [array.shape for array in a] != [array.shape for array in b]:
                return False
            for x, y in zip(a, b, strict=True):
                sums = (squared_error(x, y), energy(x), 0, 0) if is_float(x) else (0.0, 0.0, np.sum(x != y), x.size)
                found[name] = found.get(name, np.zeros(4)) + sums
    return all(
        relative_error(noise, signal) <= _MAX_ERROR and others <= _MAX_OTHERS * size
        for noise, signal, others, size in found.values()
    )


def _list_arrays(output: Any) -> list[np.ndarray]:
    """A tensor, or those of a sequence; of anything else an array that holds it."""
    return [np.asarray(part) for part in (output if isinstance(output, list) else [output])]


def _measure_heads(
    model: ir.Model, pairs: Sequence[HeadPair], samples: Samples, config: SessionConfig
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each pair the second moments of the first layer's outputs and the covariance of the second's, by head: float64
    (heads, size, size) each. Of values both are what the second layer reads.
    """
    layers, executor = find_linear_layers(model.graph), SegmentExecutor(model, samples, config)
    wanted: dict[int, list[tuple[int, bool]]] = {}
    for number, pair in enumerate(pairs):
        wanted.setdefault(pair.second, []).append((number, True))
        if not pair.reads_values:
            wanted.setdefault(pair.first, []).append((number, False))
    found: dict[tuple[int, bool], np.ndarray] = {}
    for position in sorted(wanted):
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


def _change_scores(pair: HeadPair, layers: tuple[LinearLayer, LinearLayer], queries: np.ndarray, keys: np.ndarray) -> None:
    """Bring queries and keys into the basis of the singular vectors of their products, each with the root of the values."""
    bases = []
    for query_moments, key_moments in zip(queries, keys, strict=True):
        (query_root, query_inverse), (key_root, key_inverse) = _take_roots(query_moments), _take_roots(key_moments)
        left, sizes, right = np.linalg.svd(query_root @ key_root)
        scale = np.sqrt(np.maximum(sizes, _MIN_SHARE * max(float(sizes[0]), 1e-30)))
        # the second times the transposed first has to be one, so what strengthens one weakens the other
        bases.append((query_inverse @ left * scale, key_inverse @ right.T * (sizes / scale)))
    _mix_outputs(layers[0], pair.first_channels, [basis for basis, _ in bases])
    _mix_outputs(layers[1], pair.second_channels, [basis for _, basis in bases])


def _change_values(pair: HeadPair, layers: tuple[LinearLayer, LinearLayer], mixed: np.ndarray, _: np.ndarray) -> None:
    """Bring values into the basis of the singular vectors of what the second layer makes of them, all as strong."""
    combined = layers[1].matrix()
    outputs = []
    for moments, channels in zip(mixed, pair.second_channels, strict=True):
        root, inverse = _take_roots(moments)
        left, _sizes, _right = np.linalg.svd(root @ combined[0][:, channels].T)
        strength = np.sqrt(max(float(np.trace(moments)) / len(moments), 1e-30))
        outputs.append(inverse @ left * strength)
        combined[0][:, channels] = combined[0][:, channels] @ (root @ left / strength)
    _mix_outputs(layers[0], pair.first_channels, outputs)
    layers[1].assign(combined)


def _mix_outputs(layer: LinearLayer, channels: np.ndarray, bases: Sequence[np.ndarray]) -> None:
    """Give each head of ``layer`` the outputs y M in place of y."""
    combined = layer.matrix()
    for head, basis in zip(channels, bases, strict=True):
        combined[0][head] = basis.T @ combined[0][head]
    layer.assign(combined)


def _make_renaming(graph: ir.Graph) -> Callable[[ir.Value], None]:
    """What gives a value of ``graph``, unless it is an output, a name that none had before; each but once."""
    editor, renamed = GraphEditor(graph), set[ir.Value]()

    def rename(value: ir.Value) -> None:
        if not value.is_graph_output() and value not in renamed:
            renamed.add(value)
            editor.rename(value, f"{value.name}{_SUFFIX}")

    return rename


def _rename_to_product(value: ir.Value, rename: Callable[[ir.Value], None]) -> None:
    """Name ``value`` and what is made of it anew, up to products."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        value = waiting.pop()
        if value not in seen:
            seen.add(value)
            rename(value)
            waiting += [output for node in value.consumers() if node.op_type != "MatMul" for output in node.outputs]


def _rename_from_product(value: ir.Value | None, rename: Callable[[ir.Value], None]) -> None:
    """Name ``value`` and what it is made of anew, back to a product."""
    while value is not None and (producer := value.producer()) is not None:
        rename(value)
        value = None if producer.op_type == "MatMul" or not producer.inputs else producer.inputs[0]
