"""Shapes as data. Where a size flows to is followed in ``extents.py``; here is what it says about slots."""

from __future__ import annotations

from onnxslim.channels.slots.op import Op


def shape(op: Op) -> None:
    """Shape and Size read no element, so nothing needs to stay for their sake."""
    for a in range(op.rank(0)):
        op.axis(0, a)
    op.fill_output(0)


def constant_of_shape(op: Op) -> None:
    """An axis of equal values is as long as is wanted: channels of its own (a recurrent net's first state)."""
    sizes = op.read_symbolic_ints(0)
    axes = [
        op.new_channels(size) if isinstance(size, int) else size for size in (op.output_dims(0) if sizes is None else sizes)
    ]
    op.record_size(0, dict(enumerate(axes)))
    op.set_output(0, axes)


RULES = {"ConstantOfShape": constant_of_shape, "Shape": shape, "Size": shape}
