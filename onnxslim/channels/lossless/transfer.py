"""How facts about channels get from the inputs of a model to its outputs, op by op.

To add an op, write ``def transfer(view: NodeView) -> ChannelFacts | None`` here or in the module of its kind and list it in
that module's ``TRANSFERS``.
"""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir

from onnxslim.channels.lossless import linear, pointwise
from onnxslim.channels.lossless.facts import BaseAllocator, ChannelFacts
from onnxslim.channels.lossless.layout_view import NodeView, Transfer
from onnxslim.channels.lossless.recurrent import RECURRENT_CELLS, find_state_facts
from onnxslim.channels.slots.node import UNEXPECTED_NODE_ERRORS

logger = logging.getLogger(__name__)


def infer_facts(model: ir.Model) -> dict[ir.Value, ChannelFacts]:
    """Facts about the tensors of the main graph of ``model``, whose shapes have been inferred."""
    known: dict[ir.Value, ChannelFacts] = {}
    bases = BaseAllocator()
    for node in model.graph:
        try:
            known.update(_transfer(NodeView(node, known, bases)))
        except UNEXPECTED_NODE_ERRORS as error:
            logger.debug("nothing is known of what %s %s gives: %s", node.op_type, node.name, error)
    return known


def _transfer(view: NodeView) -> dict[ir.Value, ChannelFacts]:
    """Facts about the outputs of a node."""
    node = view.node
    if not node.domain and node.op_type in RECURRENT_CELLS:
        return dict(zip(node.outputs, find_state_facts(view) or (), strict=False))
    transfer = None if node.domain else TRANSFERS.get(node.op_type)
    output_facts = transfer(view) if transfer is not None else None
    return {} if output_facts is None else {node.outputs[0]: output_facts.mark_constants()}


def _pool_or_resize(view: NodeView) -> ChannelFacts | None:
    """What mixes places within a channel, with weights that sum to one: pooling, nearest and linear resizing."""
    facts = view.input_facts(0, 1)
    if facts is None or len(view.node.outputs) > 1:
        return None
    mode = view.node.attributes.get_string("mode", "nearest")
    if view.node.op_type == "Resize" and (mode == "cubic" or view.output_dims()[:2] != view.input_dims(0)[:2]):
        return None
    counts_border = bool(view.get_int("count_include_pad", 0) or view.get_int("ceil_mode", 0))
    return _mix_positions(view, facts, view.node.op_type == "AveragePool" and counts_border)


def _mix_positions(view: NodeView, facts: ChannelFacts, has_border: bool) -> ChannelFacts:
    constant = facts.is_zero if has_border else facts.is_constant
    passes = facts.factor > 0
    keys = [facts.base, np.where(passes, 1.0, facts.factor)]
    factor = np.where(constant, facts.factor, np.where(passes, facts.factor, 1.0))
    low, high = (np.minimum(facts.low, 0), np.maximum(facts.high, 0)) if has_border else (facts.low, facts.high)
    return view.bases.assign_bases(facts.axis, keys, factor, low, high, constant)


def _pad(view: NodeView) -> ChannelFacts | None:
    facts, amounts, value = view.input_facts(0), view.const(1), view.const(2)
    rank = len(view.input_dims(0))
    zeros = view.node.attributes.get_string("mode", "constant") == "constant" and (value is None or not value.any())
    if facts is None or amounts is None or len(amounts) != 2 * rank or not zeros or len(view.node.inputs) > 3:
        return None
    if amounts[facts.axis] or amounts[facts.axis + rank]:
        return None
    return _mix_positions(view, facts, bool(amounts.any()))


def _reduce_mean(view: NodeView) -> ChannelFacts | None:
    facts, rank = view.input_facts(0), len(view.input_dims(0))
    axes = view.node.attributes["axes"].as_ints() if "axes" in view.node.attributes else view.const(1)
    if facts is None or axes is None or not rank:
        return None
    reduced = {int(a) % rank for a in np.ravel(axes)}
    if facts.axis in reduced:
        return None
    dropped = 0 if view.get_int("keepdims", 1) else sum(a < facts.axis for a in reduced)
    return _mix_positions(view, facts, False).with_axis(facts.axis - dropped)


def _concat(view: NodeView) -> ChannelFacts | None:
    rank = len(view.output_dims())
    if not rank:
        return None
    axis = view.get_int("axis", 0) % rank
    parts = []
    for i in range(len(view.node.inputs)):
        dims = view.input_dims(i)
        size = dims[axis] if len(dims) == rank else None
        if not isinstance(size, int):
            return None
        parts.append(view.input_facts(i, axis) or view.bases.add_unknown(size, axis))
    columns = zip(*((p.base, p.factor, p.low, p.high) for p in parts), strict=True)
    return ChannelFacts(axis, *(np.concatenate(column) for column in columns))


def _flatten(view: NodeView) -> ChannelFacts | None:
    """(N, C, …) to (N, C · …), the features of a classifier."""
    facts, dims, out = view.input_facts(0, 1), view.input_dims(0), view.output_dims()
    inner = [size for size in dims[2:] if isinstance(size, int)]
    if facts is None or len(out) != 2 or len(inner) != len(dims) - 2 or out[1] != len(facts) * int(np.prod(inner)):
        return None
    positions = int(np.prod(inner))
    repeated = facts.take(np.repeat(np.arange(len(facts)), positions))
    position = np.tile(np.arange(positions), len(facts))
    return view.bases.assign_bases(
        1, [repeated.base, position], repeated.factor, repeated.low, repeated.high, repeated.is_constant
    )


def _reshape(view: NodeView) -> ChannelFacts | None:
    """As flattening, or channels last: (…, C) and with the axes before it, as the directions of a recurrent net."""
    facts, dims, out = view.input_facts(0), view.input_dims(0), view.output_dims()
    if facts is None or facts.axis != len(dims) - 1 or not out:
        return _flatten(view)
    size, times = out[-1], 1
    for dim in dims[-2::-1]:
        if times * len(facts) == size:
            break
        if not isinstance(dim, int):
            return None
        times *= dim
    if times * len(facts) != size:
        return None
    if times == 1:
        return facts.with_axis(len(out) - 1)
    tiled = facts.take(np.tile(np.arange(len(facts)), times))
    keys = [tiled.base, np.repeat(np.arange(times), len(facts))]
    return view.bases.assign_bases(len(out) - 1, keys, tiled.factor, tiled.low, tiled.high, tiled.is_constant)


def _squeeze(view: NodeView) -> ChannelFacts | None:
    """Squeeze or Unsqueeze: axes of size 1 before that of the channels go or come."""
    facts, rank, out_rank = view.input_facts(0), len(view.input_dims(0)), len(view.output_dims())
    axes = view.node.attributes["axes"].as_ints() if "axes" in view.node.attributes else view.const(1)
    if facts is None or axes is None or not rank or not out_rank:
        return None
    moved = {int(a) % max(rank, out_rank) for a in np.ravel(axes)}
    if out_rank < rank:
        return None if facts.axis in moved else facts.with_axis(facts.axis - sum(a < facts.axis for a in moved))
    return facts.with_axis([a for a in range(out_rank) if a not in moved][facts.axis])


def _transpose(view: NodeView) -> ChannelFacts | None:
    facts, rank = view.input_facts(0), len(view.input_dims(0))
    if facts is None or not rank:
        return None
    order = list(view.node.attributes["perm"].as_ints()) if "perm" in view.node.attributes else list(range(rank))[::-1]
    return facts.with_axis(order.index(facts.axis))


TRANSFERS: dict[str, Transfer] = {
    **linear.TRANSFERS,
    **pointwise.TRANSFERS,
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Resize"), _pool_or_resize),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), _squeeze),
    "Concat": _concat,
    "Flatten": _flatten,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Reshape": _reshape,
    "Transpose": _transpose,
}
