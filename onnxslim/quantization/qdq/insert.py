"""A plan made real: QuantizeLinear and DequantizeLinear nodes in the graph, weights as int8.

Where each pair stands follows from what the runtime's optimiser matches (``targets.py``):

1. An int8 unit reads each activation through a DequantizeLinear of its own tensor's QuantizeLinear.
2. A tensor that an int8 unit produces is read by its QuantizeLinear only; float readers and the graph's outputs take the
   dequantised value. A tensor that a float op produces stays readable in float.
3. A float layer between int8 ones reads through a DequantizeLinear with a *vector* of equal scales: with a scalar one,
   onnxruntime quantises the layer's weights per tensor at load, although it was excluded.
4. A float bias fuses for Conv, and for Gemm with a quantised output. Gemm with a float output needs an int32 bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.model_io import model_file
from onnxslim.quantization.numerics.affine import Encoding, compute_weight_scales, quantize_weight
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan

#: Layers whose float weights the runtime would quantise behind our back (rule 3).
_AUTO_QUANTIZED_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


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
    for unit in units:
        if unit.has_weights:
            _quantize_layer(model, unit, plan, qparams)
    values_by_name = {str(value.name): value for value in graph.inputs}
    values_by_name.update({str(value.name): value for node in graph for value in node.outputs})
    for name in plan.tensors:
        value = values_by_name[name]
        _quantize_activation(model, value, qparams.encodings[name], value.producer() in unit_of_node, int8_readers)
    for name in plan.constants:
        value = _find_constant(model, name)
        _quantize_constant(model, value, qparams.encodings[name], int8_readers)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
    graph.sort()


def weight_axis(unit: FusionGroup) -> int:
    """The axis of the weights that carries the outputs."""
    if unit.op == "Conv":
        return 0
    if unit.op == "Gemm":
        return 0 if unit.anchor.attributes.get_int("transB", 0) else 1
    return 1


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


def _quantize_layer(model: ir.Model, unit: FusionGroup, plan: QuantizationPlan, qparams: QuantizationParams) -> None:
    anchor, axis = unit.anchor, weight_axis(unit)
    weight_value = anchor.inputs[1]
    weight = get_const_array(weight_value)
    assert weight_value is not None
    assert weight is not None
    bias_input = find_bias_input(unit)
    bias = get_const_array(bias_input[0].inputs[bias_input[1]]) if bias_input is not None else None
    quantized = qparams.weights.get(unit.name)
    input_encoding = qparams.encodings[str(unit.inputs[0].name)]
    if quantized is None:
        flat_bias = None if bias is None else bias.reshape(-1)
        scales = compute_weight_scales(
            weight, axis, bias=flat_bias, input_scale=float(input_encoding.scale), reduce_range=qparams.reduce_range
        )
        quantized = QuantizedWeights(quantize_weight(weight, scales, axis), scales)
    prefix = f"{weight_value.name}_{unit.name}"
    zero_points = np.zeros(quantized.scales.shape, np.int8)
    anchor.replace_input_with(1, _add_dequantize_node(model, prefix, quantized.weight, quantized.scales, zero_points, axis))
    if quantized.bias is not None:
        bias = quantized.bias
        _replace_bias(model, unit, bias)
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
        value = _add_dequantize_node(model, f"{prefix}_bias", bias_codes.astype(np.int32), scales, bias_zero_points, 0)
        bias_input[0].replace_input_with(bias_input[1], value)
    elif unit.op == "MatMul" and rank == 3 and (float_output or len(unit.nodes) > 2):
        # with a bias of rank 1 the runtime makes a float Gemm and two Reshapes of static MatMul + Add, and no
        # QuantizeLinear behind an activation reaches that Gemm; with one of rank 3 it does not
        value = add_initializer(model, f"{prefix}_bias", bias.reshape(1, 1, -1))
        bias_input[0].replace_input_with(bias_input[1], value)


def _replace_bias(model: ir.Model, unit: FusionGroup, bias: np.ndarray) -> None:
    bias_input = find_bias_input(unit)
    value = add_initializer(model, f"{unit.name}_corrected_bias", bias.astype(np.float32))
    if bias_input is not None:
        old_bias = get_const_array(bias_input[0].inputs[bias_input[1]])
        if old_bias is not None and old_bias.ndim != 1:
            value = add_initializer(
                model, f"{unit.name}_corrected_bias_{old_bias.ndim}d", bias.astype(np.float32).reshape(old_bias.shape)
            )
        bias_input[0].replace_input_with(bias_input[1], value)
    elif unit.op != "MatMul":
        anchor = unit.anchor
        anchor.resize_inputs(3)
        anchor.replace_input_with(2, value)


def _quantize_activation(
    model: ir.Model,
    value: ir.Value,
    encoding: Encoding,
    produced_in_int8: bool,
    readers: Mapping[tuple[ir.Value, ir.Node], FusionGroup],
) -> None:
    uses = list(value.uses())
    name = str(value.name)
    scale, zero_point = _add_scale_and_zero_point(model, name, encoding)
    quantize_node = ir.node("QuantizeLinear", [value, scale, zero_point], name=f"{name}_QuantizeLinear")
    quantized = quantize_node.outputs[0]
    quantized.name, quantized.shape, quantized.dtype = (
        f"{name}_QuantizeLinear_Output",
        value.shape,
        quantized_dtype(encoding),
    )
    dequantize_node = ir.node("DequantizeLinear", [quantized, scale, zero_point], name=f"{name}_DequantizeLinear")
    dequantized = dequantize_node.outputs[0]
    dequantized.name, dequantized.shape, dequantized.dtype = (
        f"{name}_DequantizeLinear_Output",
        value.shape,
        ir.DataType.FLOAT,
    )
    nodes = [quantize_node, dequantize_node]
    vector_dequantized: ir.Value | None = None
    for use in uses:
        node, position = use.node, use.idx
        if (value, node) in readers:
            node.replace_input_with(position, dequantized)
        elif produced_in_int8:
            if (
                node.op_type in _AUTO_QUANTIZED_OPS
                and get_const_array(node.inputs[1] if len(node.inputs) > 1 else None) is not None
            ):
                if vector_dequantized is None:
                    vector_dequantized = _dequantize_with_vector(model, name, quantized, value, encoding, nodes)
                node.replace_input_with(position, vector_dequantized if vector_dequantized is not None else dequantized)
            else:
                node.replace_input_with(position, dequantized)
    producer = value.producer()
    if producer is None:
        model.graph.insert_before(model.graph[0], nodes)
    else:
        model.graph.insert_after(producer, nodes)
    if produced_in_int8 and value.is_graph_output():
        _replace_graph_output(model, value, dequantized)


def _dequantize_with_vector(
    model: ir.Model, name: str, quantized: ir.Value, value: ir.Value, encoding: Encoding, nodes: list[ir.Node]
) -> ir.Value | None:
    """``quantized`` dequantised with one (equal) scale per index of axis 1; None when that axis has no fixed size."""
    size = (shapes.get_dims(value) or (None, None))[1:2]
    if not size or not isinstance(size[0], int):
        return None
    scales = add_initializer(model, f"{name}_scale_vector", np.full(size[0], encoding.scale, np.float32))
    zero_points = add_initializer(model, f"{name}_zero_point_vector", np.full(size[0], encoding.zero_point))
    node = ir.node("DequantizeLinear", [quantized, scales, zero_points], {"axis": 1}, name=f"{name}_DequantizeLinear_Vector")
    dequantized = node.outputs[0]
    dequantized.name, dequantized.shape, dequantized.dtype = (
        f"{name}_DequantizeLinear_Vector_Output",
        value.shape,
        ir.DataType.FLOAT,
    )
    nodes.append(node)
    return dequantized


def _replace_graph_output(model: ir.Model, value: ir.Value, replacement: ir.Value) -> None:
    """Make ``replacement`` the graph output that ``value`` was, under its name."""
    name = str(value.name)
    outputs = model.graph.outputs
    for index, output in enumerate(list(outputs)):
        if output is value:
            outputs[index] = replacement
    replacement.shape, replacement.type, replacement.doc_string = value.shape, value.type, value.doc_string
    value.name = f"{name}_float"
    replacement.name = name


def _quantize_constant(
    model: ir.Model, value: ir.Value, encoding: Encoding, readers: Mapping[tuple[ir.Value, ir.Node], FusionGroup]
) -> None:
    array = get_const_array(value)
    assert array is not None
    name = str(value.name)
    codes = add_initializer(model, f"{name}_quantized", encoding.quantize(array))
    node = ir.node(
        "DequantizeLinear", [codes, *_add_scale_and_zero_point(model, name, encoding)], name=f"{name}_DequantizeLinear"
    )
    dequantized = node.outputs[0]
    dequantized.name, dequantized.shape, dequantized.dtype = (
        f"{name}_DequantizeLinear_Output",
        ir.Shape(array.shape),
        ir.DataType.FLOAT,
    )
    model.graph.insert_before(model.graph[0], node)
    for use in list(value.uses()):
        if (value, use.node) in readers:
            use.node.replace_input_with(use.idx, dequantized)


def _add_dequantize_node(
    model: ir.Model, prefix: str, codes: np.ndarray, scales: np.ndarray, zero_points: np.ndarray, axis: int
) -> ir.Value:
    if prefix + "_quantized" in model.graph.initializers:
        existing = model.graph.initializers[prefix + "_quantized"]
        return next(iter(existing.uses())).node.outputs[0]
    values = [
        add_initializer(model, prefix + suffix, array)
        for suffix, array in (("_quantized", codes), ("_scale", scales), ("_zero_point", zero_points))
    ]
    node = ir.node("DequantizeLinear", values, {"axis": axis}, name=f"{prefix}_DequantizeLinear")
    dequantized = node.outputs[0]
    dequantized.name, dequantized.shape, dequantized.dtype = (
        f"{prefix}_DequantizeLinear_Output",
        ir.Shape(codes.shape),
        ir.DataType.FLOAT,
    )
    model.graph.insert_before(model.graph[0], node)
    return dequantized


def _add_scale_and_zero_point(model: ir.Model, name: str, encoding: Encoding) -> tuple[ir.Value, ir.Value]:
    return (
        add_initializer(model, f"{name}_scale", np.asarray(encoding.scale)),
        add_initializer(model, f"{name}_zero_point", np.asarray(encoding.zero_point)),
    )


def quantized_dtype(encoding: Encoding) -> ir.DataType:
    """The ONNX type of an encoding's codes."""
    return ir.DataType.from_numpy(np.asarray(encoding.zero_point).dtype)


def add_initializer(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    """Register ``array`` as an initializer of the main graph under ``name``, or under a free name like it."""
    existing, unique_name, count = model.graph.initializers, name, 0
    while unique_name in existing:
        count += 1
        unique_name = f"{name}_{count}"
    tensor = ir.tensor(np.ascontiguousarray(array) if array.ndim else array, name=unique_name)
    value = ir.Value(name=unique_name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    model.graph.register_initializer(value)
    return value


def _find_constant(model: ir.Model, name: str) -> ir.Value:
    if name in model.graph.initializers:
        return model.graph.initializers[name]
    return next(value for node in model.graph for value in node.outputs if value.name == name)
