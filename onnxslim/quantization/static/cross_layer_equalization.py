"""Cross-layer equalisation: channels of one tensor brought to like ranges, exactly, by moving scale between layers.

A tensor is quantised with one scale, so a channel that uses a tenth of its range gets a tenth of the resolution. Where
only homogeneous ops lie between the layers that write a channel and those that read it, writing it s times larger and
reading it s times smaller changes nothing (Nagel et al., Data-free quantization, 2019). Rows of the writers carry their own
weight scales, so that side is free; columns of the readers share theirs, so how far to go is a trade, and both sides
of it are known in closed form from each channel's range and energy.

A Clip is homogeneous only while it does not bite: a channel behind Clip(0, 6) is scaled only if it stays below the bound on
the calibration data, before and after; Clip never becomes Relu.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.clip_bounds import get_clip_bounds
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import LinearLayer
from onnxslim.quantization.numerics.affine import broadcast_along

#: f(s·x) = s·f(x) for s > 0, channel by channel
HOMOGENEOUS_OPS = frozenset(
    ["Relu", "Clip", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Identity", "Dropout", "Pad"]
)
#: How much of the way to equal ranges is tried: 0 leaves a stream alone, 1 makes all its channels alike.
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
#: A scaled channel may come this close to a Clip's bound; the rest is room for data that were not seen.
CLIP_HEADROOM = 0.6
#: No channel is scaled by more; a channel that is nearly dead needs no resolution.
MAX_CHANNEL_SCALE = 64.0


@dataclass
class EqualizationGroup:
    """Tensors that carry the same channels, with everything that writes and reads them.

    Attributes:
        tensors: Names of the tensors, sorted.
        writers: Layers whose outputs they are.
        readers: Layers that they enter.
        clip_bound: The least upper bound of a Clip on the way, inf without one.
    """

    tensors: list[str] = field(default_factory=list)
    writers: list[ir.Node] = field(default_factory=list)
    readers: list[ir.Node] = field(default_factory=list)
    clip_bound: float = float("inf")


def find_equalization_groups(model: ir.Model) -> list[EqualizationGroup]:
    """Every set of tensors whose channels may be rescaled, in graph order."""
    visited: set[ir.Value] = set()
    groups = []
    for node in model.graph:
        if node.op_type in ("Conv", "Gemm") and not node.domain and node.outputs[0] not in visited:
            group = _trace_group(node.outputs[0], visited)
            if group is not None:
                groups.append(group)
    return groups


def _trace_group(start: ir.Value, visited: set[ir.Value]) -> EqualizationGroup | None:
    group, queue, valid = EqualizationGroup(), [start], True
    members: dict[ir.Value, None] = {}
    while queue:
        value = queue.pop()
        if value in members:
            continue
        members[value] = None
        valid &= not value.is_graph_output() and not value.is_graph_input()
        producer = value.producer()
        if producer is not None and _is_layer(producer):
            group.writers.append(producer)
        elif producer is not None and _is_homogeneous(producer):
            queue += [read for read in producer.inputs[: 2 if producer.op_type == "Add" else 1] if read is not None]
            if producer.op_type == "Clip" and (bound := get_clip_bounds(producer)[1]) is not None:
                group.clip_bound = min(group.clip_bound, bound)
        else:
            valid = False
        for use in value.uses():
            reader = use.node
            if _is_layer(reader) and use.idx == 0:
                if reader not in group.readers:
                    group.readers.append(reader)
            elif _is_homogeneous(reader) and reader.graph is start.graph and (use.idx == 0 or reader.op_type == "Add"):
                queue.append(reader.outputs[0])
            else:
                valid = False
    visited.update(members)
    group.tensors = sorted(str(value.name) for value in members)
    return group if valid and group.readers and group.clip_bound > 0 else None


def _is_layer(node: ir.Node) -> bool:
    if node.op_type not in ("Conv", "Gemm") or node.domain:
        return False
    weight = get_const_array(node.inputs[1])
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if weight is None or weight.dtype != np.float32 or (bias is not None and get_const_array(bias) is None):
        return False
    if node.op_type == "Gemm":
        return not node.attributes.get_int("transA", 0)
    layer = LinearLayer(node)
    return layer.groups == 1 or layer.is_depthwise


def _is_homogeneous(node: ir.Node) -> bool:
    if node.op_type not in HOMOGENEOUS_OPS or node.domain:
        return False
    if node.op_type == "Clip":
        low, high = get_clip_bounds(node)
        return low == 0.0 and high is not None and high > 0
    if node.op_type == "Add":
        left, right = (shapes.get_dims(value) for value in node.inputs[:2])
        return all(get_const_array(value) is None for value in node.inputs) and left is not None and left == right
    if node.op_type == "Pad":
        mode = node.attributes.get_string("mode", "constant")
        value = get_const_array(node.inputs[2]) if len(node.inputs) > 2 else None
        pads = get_const_array(node.inputs[1]) if len(node.inputs) > 1 else None
        dims, has_axes = shapes.get_dims(node.inputs[0]), len(node.inputs) > 3 and node.inputs[3] is not None
        axes = get_const_array(node.inputs[3]) if has_axes else None
        unknown = pads is None or (has_axes and (axes is None or dims is None))
        if pads is None or unknown or mode != "constant" or (value is not None and value.any()):
            return False
        count = len(pads) // 2
        padded = range(count) if axes is None or dims is None else [int(axis) % len(dims) for axis in axes.flat]
        return not any(pads[[at, at + count]].any() for at, axis in enumerate(padded) if axis < 2)
    return True


def equalize(
    model: ir.Model, channel_statistics: Mapping[str, tuple[np.ndarray, np.ndarray]], *, include_clips: bool = True
) -> dict[str, float]:
    """Rescale the channels of every stream of ``model`` in place.

    Args:
        model: The float model.
        channel_statistics: By tensor name the largest magnitude and the mean square of each channel, float64 (C,) each,
            for at least one tensor of a stream; a stream without is left alone.
        include_clips: Rescale streams with a Clip too.

    Returns:
        The strength that was chosen, by the stream's first tensor, where it is not 0.
    """
    strengths = {}
    editor = GraphEditor(model.graph)
    for group in find_equalization_groups(model):
        group_statistics = [channel_statistics[name] for name in group.tensors if name in channel_statistics]
        if not group_statistics or not (include_clips or np.isinf(group.clip_bound)):
            continue
        peak = np.max([channels[0] for channels in group_statistics], axis=0)
        energy = np.mean([channels[1] for channels in group_statistics], axis=0)
        weights = [_reshape_by_channel(node) for node in group.readers]
        strength, scale = _choose_strength(peak, energy, weights, group.clip_bound)
        if strength > 0:
            strengths[group.tensors[0]] = strength
            for node in group.writers:
                _scale_rows(editor, node, scale)
            for node in group.readers:
                _scale_columns(editor, node, 1.0 / scale)
    return strengths


def _choose_strength(
    peak: np.ndarray, energy: np.ndarray, weights: Sequence[np.ndarray], bound: float
) -> tuple[float, np.ndarray]:
    """The strength with the least expected output error of the readers, and its scales."""
    least_error, best_strength, best_scale = np.inf, 0.0, np.ones_like(peak)
    for strength in STRENGTHS:
        candidate = compute_channel_scales(peak, bound, strength)
        error = expected_error(peak * candidate, energy * candidate**2, [w / candidate[:, None] for w in weights])
        if error < least_error * (1 - 1e-6):
            least_error, best_strength, best_scale = error, strength, candidate
    return best_strength, best_scale


def compute_channel_scales(peak: np.ndarray, bound: float, strength: float) -> np.ndarray:
    """Scale per channel that brings the peaks to (Π = the largest) by Π^a / peak^a, a being ``strength``.

    Args:
        peak: (C,) largest magnitude on the calibration data.
        bound: The Clip's bound, inf without one; a channel that reaches it keeps scale 1, others stay below.
        strength: 0 … 1.
    """
    max_peak = float(peak.max(initial=0.0))
    alive = peak > max_peak / MAX_CHANNEL_SCALE**2
    ratio = np.where(alive, max_peak / np.where(alive, peak, 1.0), 1.0)
    scale = np.clip(ratio**strength, 1.0, MAX_CHANNEL_SCALE)
    if np.isfinite(bound):
        headroom = CLIP_HEADROOM * bound / np.where(alive, peak, bound)
        scale = np.where(peak >= bound * CLIP_HEADROOM, 1.0, np.minimum(scale, np.maximum(headroom, 1.0)))
    return np.where(alive, scale, 1.0)


def expected_error(peak: np.ndarray, energy: np.ndarray, weights: Sequence[np.ndarray]) -> float:
    """Expected squared output error of 8-bit activations and 8-bit per-channel weights, summed over the readers.

    Args:
        peak: (C,) of the activations.
        energy: (C,) mean squares.
        weights: Per reader (o, C, k): outputs, channels, taps; or (C, k) where every channel is an output of its own.
    """
    step = float(peak.max(initial=0.0)) / 255.0
    total = 0.0
    for w in weights:
        total += step**2 / 12.0 * float(np.square(w).sum())
        if w.ndim == 2:
            total += float((np.square(np.abs(w).max(axis=1) / 127.0) / 12.0 * energy).sum()) * w.shape[1]
        else:
            row = np.abs(w).max(axis=(1, 2)) / 127.0
            total += float(np.square(row).sum() / 12.0 * energy.sum()) * w.shape[2]
    return total


def _reshape_by_channel(node: ir.Node) -> np.ndarray:
    """The weights as (outputs, input channels, taps); a depthwise layer's as (channels, taps)."""
    layer = LinearLayer(node)
    weight = layer.output_first
    return weight.reshape(len(weight), -1) if layer.is_depthwise else weight.reshape(*weight.shape[:2], -1)


def _scale_rows(editor: GraphEditor, node: ir.Node, scale: np.ndarray) -> None:
    layer = LinearLayer(node)
    _replace_initializer(editor, node, 1, layer.weight * broadcast_along(scale, layer.output_axis, layer.weight.ndim))
    if (bias := layer.bias) is not None:
        _replace_initializer(editor, node, 2, bias * scale.reshape(-1 if bias.ndim == 1 else (1, -1)))


def _scale_columns(editor: GraphEditor, node: ir.Node, scale: np.ndarray) -> None:
    layer = LinearLayer(node)
    axis = layer.output_axis if layer.is_depthwise else layer.input_axis
    _replace_initializer(editor, node, 1, layer.weight * broadcast_along(scale, axis, layer.weight.ndim))


def _replace_initializer(editor: GraphEditor, node: ir.Node, position: int, array: np.ndarray) -> None:
    old = node.inputs[position]
    assert old is not None
    editor.replace_input(node, position, editor.add_initializer(f"{old.name}_equalized", array.astype(np.float32)))
