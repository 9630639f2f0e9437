"""A plan made real: QuantizeLinear and DequantizeLinear nodes in the graph, weights as int8.

Where each pair stands follows from what the runtime's optimiser matches (``targets.py``):

1. An int8 unit reads each activation through a DequantizeLinear of its own tensor's QuantizeLinear.
2. A tensor that an int8 unit produces is read by its QuantizeLinear only; float readers and the graph's outputs take the
   dequantised value. A tensor that a float op produces stays readable in float.
3. A float layer between int8 ones reads through a DequantizeLinear with a *vector* of equal scales: with a scalar one,
   onnxruntime quantises the layer's weights per tensor at load, although it was excluded.
4. A float bias fuses for Conv, and for Gemm with a quantised output. Gemm with a float output needs an int32 bias.

A unit whose input the plan does not quantise stays a float layer, with the weights that its codes stand for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import LAYER_OPS
from onnxslim.model_io import model_file
from onnxslim.quantization.numerics.affine import Encoding, broadcast_along, compute_weight_scales, quantize_weight
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan


@dataclass
class QuantizedWeights:
    """int8 weights of a unit that somebody chose better than by rounding (bias correction, GPTQ).

    Attributes:
        weight: int8, the shape of the original.
        scales: float32 (outputs,).
        bias: float32 (outputs,), or None to keep the layer's own.
    """

    weight: np.ndarray
    scales: np.ndarray
    bias: np.ndarray | None = None


@dataclass
class QuantizationParams:
    """The numbers that QuantizeLinear and DequantizeLinear nodes are written with.

    Attributes:
        encodings: By tensor name.
        weights: Weights that are quantised already, by unit name; the others are rounded.
        reduce_range: Leave room for sums of two products in 16 bits (``pairs.py``).
    """

    encodings: Mapping[str, Encoding]
    weights: dict[str, QuantizedWeights] = field(default_factory=dict)
    reduce_range: bool = False


def insert_qdq(model: ir.Model, plan: QuantizationPlan, qparams: QuantizationParams) -> ir.Model:
    """A quantised copy of ``model``; the plan's nodes are found again by name."""
    copy = model_file.clone(model)
    insert_qdq_in_place(copy, plan.rebind(copy), qparams)
    return copy


def insert_qdq_in_place(model: ir.Model, plan: QuantizationPlan, qparams: QuantizationParams) -> None:
    """Write ``plan`` into ``model``, the copy whose nodes it refers to, in place."""
    graph = model.graph
    units = [unit for unit in plan.units if unit.name in plan.int8]
    unit_of_node = {node: unit for unit in units for node in unit.nodes}
    int8_readers = {(value, node): unit for node, unit in unit_of_node.items() for value in unit.inputs}
    editor = GraphEditor(graph)
    for unit in units:
        if unit.has_weights:
            _quantize_layer(editor, unit, plan, qparams)
    values_by_name = {str(value.name): value for value in graph.inputs}
    values_by_name.update({str(value.name): value for node in graph for value in node.outputs})
    for name in plan.tensors:
        value = values_by_name[name]
        _quantize_activation(editor, value, qparams.encodings[name], value.producer() in unit_of_node, int8_readers)
    for name in plan.constants:
        value = _find_constant(graph, name)
        _quantize_constant(editor, value, qparams.encodings[name], int8_readers)
    editor.remove_unread(graph.initializers.values())
    graph.sort()


def find_bias_input(unit: FusionGroup) -> tuple[ir.Node, int] | None:
    """Where the bias of a weighted unit is read: the node and the input's position, or None."""
    anchor = unit.anchor
    if unit.op == "MatMul":
        if len(unit.nodes) > 1 and unit.nodes[1].op_type == "Add":
            bias_add = unit.nodes[1]
            return bias_add, 1 if bias_add.inputs[0] is anchor.outputs[0] else 0
        return None
    if len(anchor.inputs) > 2 and anchor.inputs[2] is not None:
        return anchor, 2
    return None


def _quantize_layer(editor: GraphEditor, unit: FusionGroup, plan: QuantizationPlan, qparams: QuantizationParams) -> None:
    anchor, axis = unit.anchor, unit.layer.output_axis
    weight_value = anchor.inputs[1]
    weight = get_const_array(weight_value)
    assert weight_value is not None
    assert weight is not None
    bias_input = find_bias_input(unit)
    bias = get_const_array(bias_input[0].inputs[bias_input[1]]) if bias_input is not None else None
    quantized = qparams.weights.get(unit.name)
    if str(unit.inputs[0].name) not in plan.tensors:
        if quantized is not None:
            _assign_rounded(editor, unit, quantized)
        return
    input_encoding = qparams.encodings[str(unit.inputs[0].name)]
    if quantized is None:
        flat_bias = None if bias is None else bias.reshape(-1)
        scales = compute_weight_scales(
            weight, axis, bias=flat_bias, input_scale=float(input_encoding.scale), reduce_range=qparams.reduce_range
        )
        quantized = QuantizedWeights(quantize_weight(weight, scales, axis), scales)
    prefix = f"{weight_value.name}_{unit.name}"
    zero_points = np.zeros(quantized.scales.shape, np.int8)
    value = _add_dequantized_weight(editor, prefix, (quantized.weight, quantized.scales, zero_points), axis)
    editor.replace_input(anchor, 1, value)
    if quantized.bias is not None:
        bias = quantized.bias
        _replace_bias(editor, unit, bias)
        bias_input = find_bias_input(unit)
    if bias is None or bias_input is None:
        return
    rank = 2 if unit.op == "Gemm" else len(shapes.get_dims(unit.anchor.outputs[0]) or ())
    float_output = unit.name in plan.float_output
    if unit.supported_op is not None and unit.supported_op.int32_bias and float_output and rank == 2:
        # a MatMul of rank 2 and its Add become a Gemm too, as soon as the runtime knows their shapes
        scales = (quantized.scales.astype(np.float64) * float(input_encoding.scale)).astype(np.float32)
        bias_codes = np.clip(np.rint(bias.reshape(-1) / scales.astype(np.float64)), -(2**31), 2**31 - 1)
        bias_zero_points = np.zeros(scales.shape, np.int32)
        value = _add_dequantized_weight(editor, f"{prefix}_bias", (bias_codes.astype(np.int32), scales, bias_zero_points), 0)
        editor.replace_input(*bias_input, value)
    elif unit.op == "MatMul" and rank == 3 and (float_output or len(unit.nodes) > 2):
        # with a bias of rank 1 the runtime makes a float Gemm and two Reshapes of static MatMul + Add, and no
        # QuantizeLinear behind an activation reaches that Gemm; with one of rank 3 it does not
        editor.replace_input(*bias_input, editor.add_initializer(f"{prefix}_bias", bias.reshape(1, 1, -1)))


def _assign_rounded(editor: GraphEditor, unit: FusionGroup, quantized: QuantizedWeights) -> None:
    """Give a float layer the weights that codes stand for, and their bias."""
    layer = unit.layer
    layer.assign_weight(quantized.weight * broadcast_along(quantized.scales, layer.output_axis, quantized.weight.ndim))
    if quantized.bias is not None:
        _replace_bias(editor, unit, quantized.bias)


def _replace_bias(editor: GraphEditor, unit: FusionGroup, bias: np.ndarray) -> None:
    node, index = find_bias_input(unit) or (unit.anchor, 2)
    old = get_const_array(node.inputs[index]) if index < len(node.inputs) else None
    stem, array = f"{unit.name}_corrected_bias", bias.astype(np.float32)
    if old is not None and old.ndim != 1:
        stem, array = f"{stem}_{old.ndim}d", array.reshape(old.shape)
    if index < len(node.inputs) or node.op_type != "MatMul":
        editor.replace_input(node, index, editor.add_initializer(stem, array))


def _quantize_activation(
    editor: GraphEditor,
    value: ir.Value,
    encoding: Encoding,
    produced_in_int8: bool,
    readers: Mapping[tuple[ir.Value, ir.Node], FusionGroup],
) -> None:
    uses = list(value.uses())
    name, producer = str(value.name), value.producer()
    scale, zero_point = _add_scale_and_zero_point(editor, name, encoding)
    quantized = editor.add_node(
        "QuantizeLinear", value, scale, zero_point,
        name=f"{name}_QuantizeLinear", output=f"{name}_QuantizeLinear_Output",
        before=editor.graph[0] if producer is None else None, after=producer,
        dtype=quantized_dtype(encoding), shape=value.shape,
    )  # fmt: skip
    dequantized = _add_dequantize_node(
        editor, (quantized, scale, zero_point), f"{name}_DequantizeLinear", value.shape, after=quantized.producer()
    )
    vector_dequantized: ir.Value | None = None
    for use in uses:
        node, position = use.node, use.idx
        if (value, node) in readers:
            node.replace_input_with(position, dequantized)
        elif produced_in_int8:
            # rule 3: the runtime would quantise the float weights of these behind our back
            if node.op_type in LAYER_OPS and get_const_array(node.inputs[1] if len(node.inputs) > 1 else None) is not None:
                if vector_dequantized is None:
                    vector_dequantized = _dequantize_with_vector(editor, name, dequantized, encoding)
                node.replace_input_with(position, vector_dequantized if vector_dequantized is not None else dequantized)
            else:
                node.replace_input_with(position, dequantized)
    if produced_in_int8 and value.is_graph_output():
        dequantized.type = value.type
        editor.replace_output(value, dequantized, f"{name}_float")


def _dequantize_with_vector(editor: GraphEditor, name: str, dequantized: ir.Value, encoding: Encoding) -> ir.Value | None:
    """``dequantized`` with one (equal) scale per index of axis 1; None when that axis has no fixed size."""
    node, size = dequantized.producer(), (shapes.get_dims(dequantized) or (None, None))[1:2]
    if node is None or not size or not isinstance(size[0], int):
        return None
    scales = editor.add_initializer(f"{name}_scale_vector", np.full(size[0], encoding.scale, np.float32))
    zero_points = editor.add_initializer(f"{name}_zero_point_vector", np.full(size[0], encoding.zero_point))
    inputs, vector_name = (node.inputs[0], scales, zero_points), f"{name}_DequantizeLinear_Vector"
    return _add_dequantize_node(editor, inputs, vector_name, dequantized.shape, axis=1, after=node)


def _quantize_constant(
    editor: GraphEditor, value: ir.Value, encoding: Encoding, readers: Mapping[tuple[ir.Value, ir.Node], FusionGroup]
) -> None:
    array = get_const_array(value)
    assert array is not None
    name = str(value.name)
    codes = editor.add_initializer(f"{name}_quantized", encoding.quantize(array))
    inputs = (codes, *_add_scale_and_zero_point(editor, name, encoding))
    dequantized = _add_dequantize_node(editor, inputs, f"{name}_DequantizeLinear", ir.Shape(array.shape))
    for use in list(value.uses()):
        if (value, use.node) in readers:
            use.node.replace_input_with(use.idx, dequantized)


def _add_dequantized_weight(
    editor: GraphEditor, prefix: str, codes_scales_zeros: tuple[np.ndarray, np.ndarray, np.ndarray], axis: int
) -> ir.Value:
    """What ``codes_scales_zeros`` stand for; once for all who ask under the same ``prefix``."""
    existing = editor.graph.initializers.get(prefix + "_quantized")
    if existing is not None:
        return next(iter(existing.uses())).node.outputs[0]
    inputs = tuple(
        editor.add_initializer(prefix + suffix, array)
        for suffix, array in zip(("_quantized", "_scale", "_zero_point"), codes_scales_zeros, strict=True)
    )
    return _add_dequantize_node(editor, inputs, f"{prefix}_DequantizeLinear", inputs[0].shape, axis=axis)


def _add_dequantize_node(
    editor: GraphEditor,
    inputs: Sequence[ir.Value | None],
    name: str,
    shape: ir.Shape | None,
    *,
    axis: int | None = None,
    after: ir.Node | None = None,
) -> ir.Value:
    """A DequantizeLinear behind ``after``, or in front of everything."""
    return editor.add_node(
        "DequantizeLinear", *inputs, name=name, output=f"{name}_Output", after=after,
        before=editor.graph[0] if after is None else None, attributes=None if axis is None else {"axis": axis},
        dtype=ir.DataType.FLOAT, shape=shape,
    )  # fmt: skip


def _add_scale_and_zero_point(editor: GraphEditor, name: str, encoding: Encoding) -> tuple[ir.Value, ir.Value]:
    scale = editor.add_initializer(f"{name}_scale", encoding.scale)
    return scale, editor.add_initializer(f"{name}_zero_point", encoding.zero_point)


def quantized_dtype(encoding: Encoding) -> ir.DataType:
    """The ONNX type of an encoding's codes."""
    return ir.DataType.from_numpy(np.asarray(encoding.zero_point).dtype)


def _find_constant(graph: ir.Graph, name: str) -> ir.Value:
    if name in graph.initializers:
        return graph.initializers[name]
    return next(value for node in graph for value in node.outputs if value.name == name)
