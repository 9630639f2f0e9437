"""Which channels of which layers are the heads of an attention, found by running the model on marked biases.

Exporters write heads as any chain of reshapes, transposes, slices and splits, packed or apart. What a chain does to channels
shows when every layer gives out nothing but its bias, and the biases are numbers that tell the layer and the channel: where
they come through to a product, times one factor at most, the chain only moves channels. A chain that mixes them (rotary
positions, a norm of the queries) does not let them through, and such heads are not found; neither are those of layers
without a place for a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.layers import find_linear_layers
from onnxslim.graph.signature import tap_outputs
from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session, SessionConfig

#: How far a mark may be from a whole number: a mean over places rounds.
_TOLERANCE = 0.05
#: The mark of the first layer and channel: what does not depend on marks at all looks like 1.
_FIRST_MARK = 2

#: (position of a layer, its outputs) -> what each of its outputs is in one of the runs.
_MARKS: tuple[Callable[[int, int], np.ndarray], ...] = (
    lambda _, count: -np.ones(count),
    lambda _, count: np.ones(count),
    lambda position, count: np.full(count, float(position + _FIRST_MARK)),
    lambda _, count: np.arange(count, dtype=np.float64) + _FIRST_MARK,
)


@dataclass(frozen=True)
class HeadPair:
    """Two layers between which heads may change their basis: what the one gives out there, only the other reads.

    Attributes:
        first: Position in the graph of the layer that makes queries, or values.
        second: That of the layer that makes keys, or reads what values were mixed to.
        first_channels: int64 (heads, size), outputs of the first layer by head.
        second_channels: int64 (heads, size), outputs of the second layer (keys), or its inputs, in the same order.
        reads_values: Whether the second layer reads the values.
    """

    first: int
    second: int
    first_channels: np.ndarray
    second_channels: np.ndarray
    reads_values: bool


def find_head_pairs(model: ir.Model, feeds: Mapping[str, np.ndarray], config: SessionConfig) -> list[HeadPair]:
    """The heads of all attentions of ``model``: queries with keys, and values with the layer that reads them.

    Args:
        model: Read only.
        feeds: One sample, to run it on.
        config: How it runs.
    """
    layers = {
        position: layer
        for position, layer in find_linear_layers(model.graph).items()
        if layer.groups == 1 and layer.kernel_size == 1
    }
    products = [
        node
        for node in model.graph
        if node.op_type == "MatMul" and not node.domain and all(get_const_tensor(v) is None for v in node.inputs)
    ]
    if not products:
        return []
    names = {str(value.name) for node in products for value in node.inputs if value is not None}
    names |= {layer.input for layer in layers.values()}
    try:
        marks = _read_marks(model, sorted(names), feeds, config)
    except OnnxslimError:  # an index or a length that is made of marks need not be one
        return []
    pairs, heads_by_layer = [], dict[int, np.ndarray]()
    for node in products:
        left, right = (marks.get(str(value.name)) for value in node.inputs if value is not None)
        queries, keys, values = (_find_heads(found, axis) for found, axis in ((left, -1), (right, -2), (right, -1)))
        if (
            queries is not None
            and keys is not None
            and {queries[0], keys[0]} <= layers.keys()
            and queries[1].shape == keys[1].shape
        ):
            pairs.append(HeadPair(queries[0], keys[0], queries[1], keys[1], reads_values=False))
        elif left is None and values is not None and values[0] in layers:
            heads_by_layer[values[0]] = values[1]
    for position, layer in layers.items():
        found = _find_heads(marks.get(layer.input), -1)
        if found is None or (heads := heads_by_layer.get(found[0])) is None or len(found[1]) > 1:
            continue
        place = {int(channel): place for place, channel in enumerate(found[1][0])}
        if set(place) == set(heads.ravel().tolist()):
            read = np.vectorize(place.__getitem__, otypes=[np.int64])(heads)
            pairs.append(HeadPair(found[0], position, heads, read, reads_values=True))
    return pairs


def _read_marks(
    model: ir.Model, names: list[str], feeds: Mapping[str, np.ndarray], config: SessionConfig
) -> dict[str, np.ndarray]:
    """For each of ``names`` that holds nothing but marks: int64 (2, *shape), the layer's position and the channel."""
    runs = []
    for mark in _MARKS:
        marked = model_file.clone(model)
        for position, layer in find_linear_layers(marked.graph).items():
            combined = np.zeros_like(layer.matrix())
            combined[..., -1] = mark(position, combined[..., -1].size).reshape(combined.shape[:2])
            layer.assign(combined)
        runs.append(Session(tap_outputs(marked, names, only=True), config).run(dict(feeds)))
    found = {}
    for name in names:
        negative, factor, *marks = (np.asarray(run[name], np.float64) for run in runs)
        # one factor for all channels, and no activation, which a sign would show
        if (
            not factor.size
            or not np.all(factor)
            or not all(np.allclose(f, factor.flat[0], 1e-4) for f in (factor, -negative))
        ):
            continue
        numbers = np.stack(marks) / factor
        whole = np.rint(numbers)
        if np.isfinite(numbers).all() and np.abs(numbers - whole).max() < _TOLERANCE and whole.min() >= _FIRST_MARK:
            found[name] = whole.astype(np.int64) - _FIRST_MARK
    return found


def _find_heads(marks: np.ndarray | None, axis: int) -> tuple[int, np.ndarray] | None:
    """Of a tensor (…, places, size), or with the two exchanged, the layer and its channels (heads, size), where every place
    has the same, all are of one layer and none occurs twice.
    """
    if marks is None or marks.ndim < 3:
        return None
    moved = np.moveaxis(marks, axis, -1)
    if (moved != moved[..., :1, :]).any() or len(layers := np.unique(moved[0])) > 1:
        return None
    if moved.ndim > 3 and (moved == moved[:, :1]).all():  # a fixed batch, of samples that are all alike here
        moved = moved[:, :1]
    channels = moved[1, ..., 0, :].reshape(-1, moved.shape[-1])
    return (int(layers[0]), channels) if len(np.unique(channels)) == channels.size else None
