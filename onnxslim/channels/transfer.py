"""How facts about channels get from the inputs of a model to its outputs, op by op.

To add an op, write ``def transfer(view: View) -> Facts | None`` here or in the module of its kind and list it in that
module's ``TRANSFER``.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.channels import linear, pointwise
from onnxslim.channels.facts import Bases, Facts
from onnxslim.channels.view import Transfer, View


def learn(model: ir.Model) -> dict[ir.Value, Facts]:
    """Facts about the tensors of the main graph of ``model``, whose shapes have been inferred."""
    known: dict[ir.Value, Facts] = {}
    bases = Bases()
    for node in model.graph:
        transfer = TRANSFER.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        found = transfer(View(node, known, bases)) if transfer is not None else None
        if found is not None:
            known[node.outputs[0]] = found.settled()
    return known


def _same(view: View) -> Facts | None:
    """What mixes places within a channel, with weights that sum to one: pooling, nearest and linear resizing."""
    given = view.facts(0, 1)
    if given is None or len(view.node.outputs) > 1:
        return None
    mode = view.node.attributes.get_string("mode", "nearest")
    if view.node.op_type == "Resize" and (mode == "cubic" or view.out()[:2] != view.dims(0)[:2]):
        return None
    border = view.node.op_type == "AveragePool" and (
        view.integer("count_include_pad", 0) or view.integer("ceil_mode", 0)
    )
    return _mixed(view, given, bool(border))


def _mixed(view: View, given: Facts, border: bool) -> Facts:
    constant = given.zero if border else given.constant
    passes = given.factor > 0
    keys = [given.base, np.where(passes, 1.0, given.factor)]
    factor = np.where(constant, given.factor, np.where(passes, given.factor, 1.0))
    low, high = (np.minimum(given.low, 0), np.maximum(given.high, 0)) if border else (given.low, given.high)
    return view.bases.keyed(given.axis, keys, factor, low, high, constant)


def _pad(view: View) -> Facts | None:
    given, amounts, value = view.facts(0), view.const(1), view.const(2)
    rank = len(view.dims(0))
    zeros = view.node.attributes.get_string("mode", "constant") == "constant" and (value is None or not value.any())
    if given is None or amounts is None or len(amounts) != 2 * rank or not zeros or len(view.node.inputs) > 3:
        return None
    if amounts[given.axis] or amounts[given.axis + rank]:
        return None
    return _mixed(view, given, bool(amounts.any()))


def _reduce_mean(view: View) -> Facts | None:
    given, rank = view.facts(0), len(view.dims(0))
    found = view.const(1)
    axes = view.node.attributes["axes"].as_ints() if "axes" in view.node.attributes else found
    if given is None or axes is None or not rank:
        return None
    gone = {int(a) % rank for a in np.ravel(axes)}
    if given.axis in gone:
        return None
    keeps = view.integer("keepdims", 1)
    return _mixed(view, given, False).along(given.axis - (0 if keeps else sum(a < given.axis for a in gone)))


def _concat(view: View) -> Facts | None:
    rank = len(view.out())
    if not rank:
        return None
    axis = view.integer("axis", 0) % rank
    parts = []
    for i in range(len(view.node.inputs)):
        dims = view.dims(i)
        size = dims[axis] if len(dims) == rank else None
        if not isinstance(size, int):
            return None
        parts.append(view.facts(i, axis) or view.bases.unknown(size, axis))
    columns = zip(*((p.base, p.factor, p.low, p.high) for p in parts), strict=True)
    return Facts(axis, *(np.concatenate(column) for column in columns))


def _flatten(view: View) -> Facts | None:
    """(N, C, …) to (N, C · …), the features of a classifier."""
    given, dims, out = view.facts(0, 1), view.dims(0), view.out()
    inner = [size for size in dims[2:] if isinstance(size, int)]
    if given is None or len(out) != 2 or len(inner) != len(dims) - 2 or out[1] != len(given) * int(np.prod(inner)):
        return None
    each = int(np.prod(inner))
    slots = given.take(np.repeat(np.arange(len(given)), each))
    place = np.tile(np.arange(each), len(given))
    return view.bases.keyed(1, [slots.base, place], slots.factor, slots.low, slots.high, slots.constant)


def _transpose(view: View) -> Facts | None:
    given, rank = view.facts(0), len(view.dims(0))
    if given is None or not rank:
        return None
    order = list(view.node.attributes["perm"].as_ints()) if "perm" in view.node.attributes else list(range(rank))[::-1]
    return given.along(order.index(given.axis))


TRANSFER: dict[str, Transfer] = {
    **linear.TRANSFER,
    **pointwise.TRANSFER,
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "Resize"), _same),
    **dict.fromkeys(("Flatten", "Reshape"), _flatten),
    "Concat": _concat,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Transpose": _transpose,
}
