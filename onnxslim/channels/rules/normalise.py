"""Normalise: statistics over channels change when one of them goes, so they stay, except where loss is accepted."""

from __future__ import annotations

from onnxslim.channels.node import DeclinedError
from onnxslim.channels.op import Op
from onnxslim.channels.trace import Axis


def _over(op: Op, slots: Axis) -> None:
    if not op.lossy:
        op.pin(slots, f"{op.node.op_type} averages over it")


def layer_norm(op: Op) -> None:
    """LayerNormalization, RMSNormalization: statistics over all axes from ``axis`` on, scale and offset by slot."""
    if op.more():
        raise DeclinedError("its statistics are used")
    axes = op.axes(0)
    first = op.positive(op.integer("axis", -1), len(axes))
    for slots in axes[first:]:
        _over(op, slots)
    for i in op.given()[1:]:
        for back in range(1, op.rank(i) + 1):
            if op.size(i, op.rank(i) - back) != 1:
                axes[-back] = op.join(i, -back, axes[-back])
    op.out(0, axes)


def skip_layer_norm(op: Op) -> None:
    """onnxruntime's sum of input, skip and bias, normalised along the last axis; output 3 is the sum."""
    if len(op.node.outputs) > 1 and any(value.name and value.uses() for value in op.node.outputs[1:3]):
        raise DeclinedError("its statistics are used")
    axes = op.broadcast(op.given())
    _over(op, axes[-1])
    op.out(0, axes)
    op.out(3, axes)


def instance_norm(op: Op) -> None:
    """Statistics over space, channel by channel."""
    axes = op.axes(0)
    for slots in axes[2:]:
        _over(op, slots)
    for i in (1, 2):
        op.join(i, 0, axes[1])
    op.out(0, axes)


def group_norm(op: Op) -> None:
    """Statistics over space and the channels of a group: whole groups may go, channels of a group only with a loss."""
    slots, groups = op.channels(0, 1), op.integer("num_groups", 1)
    if op.size(1, 0) != len(slots):
        raise DeclinedError("its scale is by group")
    rows, columns = op.split(slots, (groups, len(slots) // groups))
    _over(op, columns)
    op.join(1, 0, slots)
    op.join(2, 0, slots)
    op.count("num_groups", {0: rows})
    axes = op.axes(0)
    for other in axes[2:]:
        _over(op, other)
    op.out(0, axes)


def across(op: Op) -> None:
    """Normalisation of each channel by its neighbours or by all: channels stay."""
    _over(op, op.axis(0, 1))
    op.stay(0, {0: op.axis(0, 0), 1: op.axis(0, 1)})


RULES = {
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": layer_norm,
    "SimplifiedLayerNormalization": layer_norm,
    "LRN": across,
    "com.microsoft::SkipLayerNormalization": skip_layer_norm,
    "com.microsoft::SkipSimplifiedLayerNormalization": skip_layer_norm,
}
