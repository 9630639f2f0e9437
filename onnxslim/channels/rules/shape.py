"""Shapes as data. Where a size flows to is followed in ``extents.py``; here is what it says about slots."""

from __future__ import annotations

from onnxslim.channels.op import Op


def shape(op: Op) -> None:
    """Shape and Size read no element, so nothing needs to stay for their sake."""
    for a in range(op.rank(0)):
        op.axis(0, a)
    op.stay(0)


def constant_of_shape(op: Op) -> None:
    """An axis of equal values is as long as is wanted: channels of its own (a recurrent net's first state)."""
    sizes = op.numbers(0)
    axes = [op.fresh(size) if isinstance(size, int) else size for size in (op.known(0) if sizes is None else sizes)]
    op.count(0, dict(enumerate(axes)))
    op.out(0, axes)


RULES = {"ConstantOfShape": constant_of_shape, "Shape": shape, "Size": shape}
