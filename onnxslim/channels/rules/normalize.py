"""Normalise: statistics over channels change when one of them goes, so they stay, except where loss is accepted."""

from __future__ import annotations

from onnxslim.channels.slots.node import DeclinedError
from onnxslim.channels.slots.op import Op
from onnxslim.channels.slots.slot_tracing import Axis


def _pin_averaged(op: Op, slots: Axis) -> None:
    if not op.lossy:
        op.pin(slots, f"{op.node.op_type} averages over it")


def layer_norm(op: Op) -> None:
    """LayerNormalization, RMSNormalization: statistics over all axes from ``axis`` on, scale and offset by slot."""
    if op.has_extra_outputs():
        raise DeclinedError("its statistics are used")
    axes = op.axes(0)
    first = op.normalize_axis(op.get_int("axis", -1), len(axes))
    for slots in axes[first:]:
        _pin_averaged(op, slots)
    for i in op.given_inputs()[1:]:
        for back in range(1, op.rank(i) + 1):
            if op.size(i, op.rank(i) - back) != 1:
                axes[-back] = op.join(i, -back, axes[-back])
    op.set_output(0, axes)


def skip_layer_norm(op: Op) -> None:
    """onnxruntime's sum of input, skip and bias, normalised along the last axis; output 3 is the sum."""
    if len(op.node.outputs) > 1 and any(value.name and value.uses() for value in op.node.outputs[1:3]):
        raise DeclinedError("its statistics are used")
    axes = op.broadcast(op.given_inputs())
    _pin_averaged(op, axes[-1])
    op.set_output(0, axes)
    op.set_output(3, axes)


def instance_norm(op: Op) -> None:
    """Statistics over space, channel by channel."""
    axes = op.axes(0)
    for slots in axes[2:]:
        _pin_averaged(op, slots)
    for i in (1, 2):
        op.join(i, 0, axes[1])
    op.set_output(0, axes)


def group_norm(op: Op) -> None:
    """Statistics over space and the channels of a group: whole groups may go, channels of a group only with a loss."""
    slots, groups = op.channels(0, 1), op.get_int("num_groups", 1)
    if op.size(1, 0) != len(slots):
        raise DeclinedError("its scale is by group")
    rows, columns = op.split(slots, (groups, len(slots) // groups))
    _pin_averaged(op, columns)
    op.join(1, 0, slots)
    op.join(2, 0, slots)
    op.record_size("num_groups", {0: rows})
    axes = op.axes(0)
    for other in axes[2:]:
        _pin_averaged(op, other)
    op.set_output(0, axes)


def local_response_norm(op: Op) -> None:
    """Normalisation of each channel by its neighbours or by all: channels stay."""
    _pin_averaged(op, op.axis(0, 1))
    op.fill_output(0, {0: op.axis(0, 0), 1: op.axis(0, 1)})


RULES = {
    "GroupNormalization": group_norm,
    "InstanceNormalization": instance_norm,
    "LayerNormalization": layer_norm,
    "RMSNormalization": layer_norm,
    "SimplifiedLayerNormalization": layer_norm,
    "LRN": local_response_norm,
    "com.microsoft::SkipLayerNormalization": skip_layer_norm,
    "com.microsoft::SkipSimplifiedLayerNormalization": skip_layer_norm,
}
