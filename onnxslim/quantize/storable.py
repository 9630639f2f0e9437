"""Weights that can be stored in fewer bits, whatever layer reads them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.graph.constants import constant, initializers
from onnxslim.quantize.linear import SMALLEST

#: (op type, input) → the axes of its weights that have a scale each: the outputs, where they are known.
_AXES: dict[tuple[str, int], tuple[int, ...]] = {
    ("Conv", 1): (0,),
    ("ConvTranspose", 1): (1,),
    ("Gemm", 1): (1,),
    ("Transpose", 0): (0,),
    ("MatMul", 0): (-2,),
    ("MatMul", 1): (-1,),
    ("Gather", 0): (0,),
    **{(op, index): (0, 1) for op in ("LSTM", "GRU", "RNN") for index in (1, 2)},
}


@dataclass(frozen=True, eq=False)
class Storable:
    """One float32 initializer.

    Attributes:
        value: It.
        array: What it holds.
        axes: Those with a scale for each index; the others share.
    """

    value: ir.Value
    array: np.ndarray
    axes: tuple[int, ...]

    @property
    def scale_shape(self) -> tuple[int, ...]:
        """The shape of the scales as they broadcast against the array."""
        return tuple(size if axis in self.axes else 1 for axis, size in enumerate(self.array.shape))

    def slices(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """The array as (scales, values of each), and how something of that shape becomes the array's again."""
        rest = tuple(axis for axis in range(self.array.ndim) if axis not in self.axes)
        turned = self.array.transpose(*self.axes, *rest)
        order = np.argsort([*self.axes, *rest])
        flat = turned.reshape(math.prod(self.scale_shape), -1)
        return flat, lambda found: found.reshape(turned.shape).transpose(order)


def storables(model: ir.Model, account: Account, exclude: Sequence[str] = ()) -> list[Storable]:
    """The weights of at least :data:`~onnxslim.quantize.linear.SMALLEST` elements that layers read; the others are
    declined with the reason when they are large enough to matter.
    """
    found = []
    for _, name, value in initializers(model):
        array = constant(value)
        if array is None or array.dtype != np.float32 or array.ndim < 2 or array.size < SMALLEST or not value.uses():
            continue
        uses = [(use.node, use.idx) for use in value.uses()]
        if any(re.fullmatch(pattern, node.name or "") for pattern in exclude for node, _ in uses):
            account.decline(name, "it was excluded")
            continue
        axes = {_axes(node, index) for node, index in uses}
        first = next(iter(axes))
        if None in axes or first is None:
            op = next(node.op_type for node, index in uses if _axes(node, index) is None)
            account.decline(name, f"{op} reads it, which is no layer")
        elif value.is_graph_output():
            account.decline(name, "it is an output of the model")
        else:
            # layers that disagree about the outputs' axis (a tied table) share one along the first
            own = first if len(axes) == 1 else (0,)
            found.append(Storable(value, array, tuple(axis % array.ndim for axis in own)))
    return found


def _axes(node: ir.Node, index: int) -> tuple[int, ...] | None:
    if node.op_type == "Gemm" and index == 1 and node.attributes.get_int("transB", 0) != 0:
        return (0,)
    return _AXES.get((node.op_type, index)) if node.domain in ("", "ai.onnx") else None
