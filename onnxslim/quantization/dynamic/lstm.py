"""LSTM layers in int8 whose inputs are quantised as they come: onnxruntime's DynamicQuantizeLSTM.

Its weights lie transposed, int8 (directions, inputs, 4 · hidden), symmetric, with a scale for each direction or for each of
its outputs; what is read (the whole sequence at once, and the hidden state at each step) is rounded to uint8 by its own
range. Cell state, gates, biases and peepholes stay float. There is no such kernel for GRU and RNN. An input with outlier
channels is divided by factors that the weights are multiplied by (:mod:`.smoothquant`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import Skipped
from onnxslim.graph.constant_propagation import evaluate_moves
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.finite_weights import is_finite
from onnxslim.quantization.dynamic.rewrite import RewrittenLayer
from onnxslim.quantization.linear_layers import MIN_WEIGHT_ELEMENTS, NOT_FINITE_REASON, ConstantWeightLayer
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight

#: The inputs of an LSTM in front of its int8 scales: X, W, R, B, lengths, first h and c, peepholes.
_NUM_INPUTS = 8


@dataclass(frozen=True, eq=False)
class LstmLayer(ConstantWeightLayer):
    """An LSTM with constant float32 weights, one or two directions.

    Attributes:
        weights: W, float32 (directions, 4 · hidden, inputs).
        recurrence: R, float32 (directions, 4 · hidden, hidden).
    """

    weights: np.ndarray
    recurrence: np.ndarray

    @property
    def size(self) -> int:
        """Weights of one direction: what one step multiplies by."""
        return (self.weights.size + self.recurrence.size) // len(self.weights)

    @property
    def input_matrix(self) -> np.ndarray:
        """W of all directions as (inputs, directions · 4 · hidden)."""
        return self.weights.reshape(-1, self.weights.shape[2]).T


def find_lstm_layers(model: ir.Model, exclude: Sequence[str] = ()) -> tuple[list[LstmLayer], list[Skipped]]:
    """The LSTM layers of ``model``, in any of its graphs, that int8 is for, and why the others are not.

    Args:
        model: Nodes named.
        exclude: Regular expressions; a layer stays float when its whole name matches.
    """
    layers: list[LstmLayer] = []
    skipped: list[Skipped] = []
    opset = model.opset_imports.get("") or 1
    for node in model.graph.all_nodes():
        if node.op_type != "LSTM" or node.domain:
            continue
        found = _read_layer(node, opset, exclude)
        if isinstance(found, LstmLayer):
            layers.append(found)
        else:
            skipped.append(Skipped(node.name or "", found))
    return layers, skipped


def _read_layer(node: ir.Node, opset: int, exclude: Sequence[str]) -> LstmLayer | str:
    if any(re.fullmatch(pattern, node.name or "") for pattern in exclude):
        return "it was excluded"
    if node.attributes.get_int("layout", 0):
        return "its batch comes first (layout 1), which the int8 kernel does not read"
    weights, recurrence = (evaluate_moves(node.inputs[index], opset) for index in (1, 2))
    if weights is None or recurrence is None or weights.dtype != np.float32 or weights.ndim != 3 or recurrence.ndim != 3:
        return "its weights are not float32 constants"
    if weights.size + recurrence.size < MIN_WEIGHT_ELEMENTS:
        return f"its weights are fewer than {MIN_WEIGHT_ELEMENTS}"
    if not is_finite(weights) or not is_finite(recurrence):
        return NOT_FINITE_REASON
    return LstmLayer(node, weights, recurrence)


@dataclass(frozen=True, eq=False)
class LstmForm:
    """How a layer is written in int8.

    Attributes:
        factors: What its input is divided by and its weights are multiplied by, float32 (inputs,); None: nothing.
        per_output: A scale for each output, or one for a direction, which is a tenth faster and less exact.
    """

    factors: np.ndarray | None = None
    per_output: bool = True


def write_lstms(model: ir.Model, forms: Mapping[str, LstmForm], *, reduce_range: bool = False) -> list[RewrittenLayer]:
    """Rewrite the LSTM layers that are keys of ``forms``, in place; :func:`add_int8_lstm` says the rest."""
    editor = GraphEditor(model.graph)
    return [
        _write_lstm(editor, layer, forms[layer.name], reduce_range)
        for layer in find_lstm_layers(model)[0]
        if layer.name in forms
    ]


def _write_lstm(editor: GraphEditor, layer: LstmLayer, form: LstmForm, reduce_range: bool) -> RewrittenLayer:
    """An int8 LSTM instead of ``layer``, under its name."""
    node, name = layer.node, layer.name
    int8_node = add_int8_lstm(editor, layer, form, reduce_range=reduce_range)
    weight_names = [str(value.name) for value in int8_node.inputs[1:3] if value is not None]
    for old, new in zip(node.outputs, int8_node.outputs, strict=True):
        if old.name:
            editor.replace_value(old, new, is_new=True)
    editor.remove_unread([node])
    int8_node.name = name
    return RewrittenLayer(name, "LSTM", tuple(weight_names))


def add_int8_lstm(editor: GraphEditor, layer: LstmLayer, form: LstmForm, *, reduce_range: bool = False) -> ir.Node:
    """An int8 LSTM behind ``layer`` that reads what it reads.

    Args:
        editor: Of the main graph.
        layer: Stays as it is.
        form: How it is written.
        reduce_range: Leave room for sums of two products in 16 bits (``numerics/saturation.py``).
    """
    node, weights, x = layer.node, layer.weights, layer.activation
    if form.factors is not None:
        weights = weights * form.factors
        inverse = editor.add_initializer(f"{layer.name}_smooth", (1 / form.factors).astype(np.float32))
        x = editor.add_node("Mul", x, inverse, before=node, name=f"{layer.name}_smoothed", dtype=x.dtype, shape=x.shape)
    inputs = [x, None, None, *node.inputs[3:], *[None] * _NUM_INPUTS][:_NUM_INPUTS]
    scale_inputs: list[ir.Value] = []
    for index, array in ((1, weights), (2, layer.recurrence)):
        scales = np.stack([compute_weight_scales(matrix, 0, reduce_range=reduce_range) for matrix in array])
        if not form.per_output:
            scales = scales.max(axis=1, keepdims=True)
        codes = np.stack(
            [quantize_weight(matrix, np.broadcast_to(s, len(matrix)), 0) for matrix, s in zip(array, scales, strict=True)]
        )
        stored_scales = scales if form.per_output else scales[:, 0]
        stem = f"{layer.name}_{'XWR'[index]}"
        inputs[index] = editor.add_initializer(f"{stem}_quantized", codes.transpose(0, 2, 1))
        scale_inputs.append(editor.add_initializer(f"{stem}_scale", stored_scales))
        scale_inputs.append(editor.add_initializer(f"{stem}_zero_point", np.zeros(stored_scales.shape, np.int8)))
    editor.graph.opset_imports.setdefault("com.microsoft", 1)
    first = editor.add_node(
        "DynamicQuantizeLSTM", *inputs, *scale_inputs, after=node, name=f"{layer.name}_int8", outputs=len(node.outputs),
        domain="com.microsoft", attributes={key: value for key, value in node.attributes.items() if key != "layout"},
    )  # fmt: skip
    int8_node = first.producer()
    assert int8_node is not None
    for old, new in zip(node.outputs, int8_node.outputs, strict=True):
        new.type, new.shape, new.name = old.type, old.shape, new.name if old.name else ""
    return int8_node
