"""Weights that are no numbers: found before a step makes numbers of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.cost import FLOAT_TYPES
from onnxslim.graph.layers import LAYER_OPS, LinearLayer
from onnxslim.graph.traversal import walk

_RECURRENT_OPS = ("LSTM", "GRU", "RNN")
_NORMS = ("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization")
_RUNTIME_NORMS = ("SimplifiedLayerNormalization", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization")
_FUSED_OPS = ("Attention", "FusedMatMul", "FusedGemm", "FusedConv")
_WEIGHTED_OPS = (*LAYER_OPS, *_RECURRENT_OPS, *_NORMS, *_RUNTIME_NORMS, *_FUSED_OPS, "Einsum", "PRelu")
#: What a NaN goes through to the layers behind, for every input or out of a table's rows; infinities are masks here, but
#: no row of a mask holds plus infinity.
_PASSING_OPS = ("Add", "Sub", "Mul", "Div", "Gather")


@dataclass(frozen=True)
class NonfiniteWeight:
    """A constant of a layer, or of what scales and shifts its inputs, that holds NaN or infinity.

    Attributes:
        name: The constant.
        node: The layer.
        is_bias: Whether it is a bias; minus infinity in one switches an output off.
        what: ``NaN`` or ``infinity``.
        position: Where the first one is.
    """

    name: str
    node: str
    is_bias: bool
    what: str
    position: tuple[int, ...]

    def __str__(self) -> str:
        """What and where, for people."""
        return f"{self.name} ({self.node}) holds {self.what} at {list(self.position)}"


def find_nonfinite_weights(nodes: Iterable[ir.Node]) -> Iterator[NonfiniteWeight]:
    """The weights and biases of layers and norms among ``nodes`` that hold NaN or infinity, and NaN (in tables plus
    infinity too) in embedding tables and in constants that are added or multiplied; the bias of a MatMul is in an Add.
    """
    found: set[ir.Value] = set()
    for node in nodes:
        if node.op_type not in (*_WEIGHTED_OPS, *_PASSING_OPS):
            continue
        constants = list(enumerate(node.inputs))
        if node.op_type == "MatMul" and get_const_tensor(node.inputs[1]) is not None:
            add = LinearLayer(node).bias_input
            constants += [] if add is None else [(2, add[0].inputs[add[1]])]
        for index, value in constants:
            tensor = get_const_tensor(value)
            if value is None or tensor is None or tensor.dtype not in FLOAT_TYPES or is_finite(array := tensor.numpy()):
                continue
            wrong = ~np.isfinite(array.astype(np.float64))
            position = tuple(map(int, np.argwhere(wrong)[0])) if array.ndim else ()
            is_nan = bool(np.isnan(array.astype(np.float64)).any())
            # a table of single numbers may hold bounds, and no bound is one of them
            has_rows = node.op_type == "Gather" and array.ndim > 1
            is_broken_table = has_rows and bool(np.isposinf(array.astype(np.float64)).any())
            if node.op_type in _PASSING_OPS and (not (is_nan or is_broken_table) or value in found):
                continue
            found.add(value)
            is_bias = index == (3 if node.op_type in _RECURRENT_OPS else 2)
            yield NonfiniteWeight(
                str(value.name), str(node.name or node.outputs[0].name), is_bias, "NaN" if is_nan else "infinity", position
            )


def check_finite_weights(model: ir.Model) -> list[str]:
    """Refuse weights that are no numbers: codes and criteria would make numbers of what they make of the outputs.

    Returns:
        A line for each infinite bias, which may be there to switch an output off; its layer is for the caller to leave.

    Raises:
        InvalidModelError: A weight holds NaN or infinity, or a bias NaN.
    """
    cautions = []
    for one in find_nonfinite_weights(walk(model.graph)):
        if not one.is_bias or one.what == "NaN":
            raise InvalidModelError(f"{one}: its outputs would become numbers", hint="train or export the model again")
        cautions.append(f"{one}: its layer is left in float")
    return cautions


def is_finite(array: np.ndarray) -> bool:
    """Whether no element is NaN or infinite."""
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(array.sum(dtype=np.float64)))
