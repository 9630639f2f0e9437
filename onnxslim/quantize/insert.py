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

from onnxslim import io
from onnxslim.graph import shapes
from onnxslim.graph.constants import constant
from onnxslim.quantize.encode import Encoding, quantise_weight, weight_scales
from onnxslim.quantize.plan import Plan, Unit

#: Layers whose float weights the runtime would quantise behind our back (rule 3).
_WATCHED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass
class Codes:
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
class Choices:
    """Everything numeric.

    Attributes:
        encodings: By tensor name.
        codes: Ready ones, by unit name.
        narrow: Leave room for sums of two products in 16 bits (``pairs.py``).
    """

    encodings: Mapping[str, Encoding]
    codes: dict[str, Codes] = field(default_factory=dict)
    narrow: bool = False


def written(model: ir.Model, plan: Plan, choices: Choices) -> ir.Model:
    """A quantised copy of ``model``; the plan's nodes are found again by name."""
    copy = io.clone(model)
    write_qdq(copy, plan.on(copy), choices)
    return copy


def write_qdq(model: ir.Model, plan: Plan, choices: Choices) -> None:
    """Write ``plan`` into ``model``, the copy whose nodes it refers to, in place."""
    graph = model.graph
    units = [unit for unit in plan.units if unit.name in plan.int8]
    inside = {node: unit for unit in units for node in unit.nodes}
    readers = {(value, node): unit for node, unit in inside.items() for value in unit.inputs}
    for unit in units:
        if unit.weighted:
            _quantise_layer(model, unit, plan, choices)
    produced = {str(value.name): value for value in graph.inputs}
    produced.update({str(value.name): value for node in graph for value in node.outputs})
    for name in plan.tensors:
        value = produced[name]
        _quantise_activation(model, value, choices.encodings[name], value.producer() in inside, readers)
    for name in plan.constants:
        value = _constant_named(model, name)
        _quantise_constant(model, value, choices.encodings[name], readers)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
    graph.sort()


def weight_axis(unit: Unit) -> int:
    """The axis of the weights that carries the outputs."""
    if unit.op == "Conv":
        return 0
    if unit.op == "Gemm":
        return 0 if unit.anchor.attributes.get_int("transB", 0) else 1
    return 1


def bias_of(unit: Unit) -> tuple[ir.Node, int] | None:
    """Where the bias of a weighted unit is read: the node and the input's position, or None."""
    anchor = unit.anchor
    if unit.op == "MatMul":
        if len(unit.nodes) > 1 and unit.nodes[1].op_type == "Add":
            add = unit.nodes[1]
            return add, 1 if add.inputs[0] is anchor.outputs[0] else 0
        return None
    if len(anchor.inputs) > 2 and anchor.inputs[2] is not None:
        return anchor, 2
    return None


def _quantise_layer(model: ir.Model, unit: Unit, plan: Plan, choices: Choices) -> None:
    anchor, axis = unit.anchor, weight_axis(unit)
    source = anchor.inputs[1]
    weight = constant(source)
    assert source is not None
    assert weight is not None
    place = bias_of(unit)
    bias = constant(place[0].inputs[place[1]]) if place is not None else None
    codes = choices.codes.get(unit.name)
    entry = choices.encodings[str(unit.inputs[0].name)]
    if codes is None:
        flat = None if bias is None else bias.reshape(-1)
        scales = weight_scales(weight, axis, bias=flat, input_scale=float(entry.scale), narrow=choices.narrow)
        codes = Codes(quantise_weight(weight, scales, axis), scales)
    prefix = f"{source.name}_{unit.name}"
    zeros = np.zeros(codes.scales.shape, np.int8)
    anchor.replace_input_with(1, _dequantised(model, prefix, codes.weight, codes.scales, zeros, axis))
    if codes.bias is not None:
        bias = codes.bias
        _set_bias(model, unit, bias)
        place = bias_of(unit)
    if bias is None or place is None:
        return
    rank = 2 if unit.op == "Gemm" else len(shapes.dims(unit.anchor.outputs[0]) or ())
    float_output = unit.name in plan.float_output
    if unit.row is not None and unit.row.int32_bias and float_output and rank == 2:
        # a MatMul of rank 2 and its Add become a Gemm too, as soon as the runtime knows their shapes
        scales = (codes.scales.astype(np.float64) * float(entry.scale)).astype(np.float32)
        steps = np.clip(np.rint(bias.reshape(-1) / scales.astype(np.float64)), -(2**31), 2**31 - 1)
        zeros32 = np.zeros(scales.shape, np.int32)
        value = _dequantised(model, f"{prefix}_bias", steps.astype(np.int32), scales, zeros32, 0)
        place[0].replace_input_with(place[1], value)
    elif unit.op == "MatMul" and rank == 3 and (float_output or len(unit.nodes) > 2):
        # with a bias of rank 1 the runtime makes a float Gemm and two Reshapes of static MatMul + Add, and no
        # QuantizeLinear behind an activation reaches that Gemm; with one of rank 3 it does not
        value = initializer(model, f"{prefix}_bias", bias.reshape(1, 1, -1))
        place[0].replace_input_with(place[1], value)


def _set_bias(model: ir.Model, unit: Unit, bias: np.ndarray) -> None:
    place = bias_of(unit)
    value = initializer(model, f"{unit.name}_corrected_bias", bias.astype(np.float32))
    if place is not None:
        old = constant(place[0].inputs[place[1]])
        if old is not None and old.ndim != 1:
            value = initializer(
                model, f"{unit.name}_corrected_bias_{old.ndim}d", bias.astype(np.float32).reshape(old.shape)
            )
        place[0].replace_input_with(place[1], value)
    elif unit.op != "MatMul":
        anchor = unit.anchor
        anchor.resize_inputs(3)
        anchor.replace_input_with(2, value)


def _quantise_activation(
    model: ir.Model,
    value: ir.Value,
    encoding: Encoding,
    from_int8: bool,
    readers: Mapping[tuple[ir.Value, ir.Node], Unit],
) -> None:
    uses = list(value.uses())
    name = str(value.name)
    scale, zero = _parameters(model, name, encoding)
    quantise = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}_QuantizeLinear")
    code = quantise.outputs[0]
    code.name, code.shape, code.dtype = f"{name}_QuantizeLinear_Output", value.shape, scale_type(encoding)
    dequantise = ir.node("DequantizeLinear", [code, scale, zero], name=f"{name}_DequantizeLinear")
    plain = dequantise.outputs[0]
    plain.name, plain.shape, plain.dtype = f"{name}_DequantizeLinear_Output", value.shape, ir.DataType.FLOAT
    nodes = [quantise, dequantise]
    vector: ir.Value | None = None
    for use in uses:
        node, position = use.node, use.idx
        if (value, node) in readers:
            node.replace_input_with(position, plain)
        elif from_int8:
            if node.op_type in _WATCHED and constant(node.inputs[1] if len(node.inputs) > 1 else None) is not None:
                if vector is None:
                    vector = _vector(model, name, code, value, encoding, nodes)
                node.replace_input_with(position, vector if vector is not None else plain)
            else:
                node.replace_input_with(position, plain)
    producer = value.producer()
    if producer is None:
        model.graph.insert_before(model.graph[0], nodes)
    else:
        model.graph.insert_after(producer, nodes)
    if from_int8 and value.is_graph_output():
        _swap_output(model, value, plain)


def _vector(
    model: ir.Model, name: str, code: ir.Value, value: ir.Value, encoding: Encoding, nodes: list[ir.Node]
) -> ir.Value | None:
    """``code`` dequantised with one (equal) scale per index of axis 1; None when that axis has no fixed size."""
    size = (shapes.dims(value) or (None, None))[1:2]
    if not size or not isinstance(size[0], int):
        return None
    scales = initializer(model, f"{name}_scale_vector", np.full(size[0], encoding.scale, np.float32))
    zeros = initializer(model, f"{name}_zero_point_vector", np.full(size[0], encoding.zero_point))
    node = ir.node("DequantizeLinear", [code, scales, zeros], {"axis": 1}, name=f"{name}_DequantizeLinear_Vector")
    out = node.outputs[0]
    out.name, out.shape, out.dtype = f"{name}_DequantizeLinear_Vector_Output", value.shape, ir.DataType.FLOAT
    nodes.append(node)
    return out


def _swap_output(model: ir.Model, value: ir.Value, plain: ir.Value) -> None:
    """Make ``plain`` the graph output that ``value`` was, under its name."""
    name = str(value.name)
    outputs = model.graph.outputs
    for index, output in enumerate(list(outputs)):
        if output is value:
            outputs[index] = plain
    plain.shape, plain.type, plain.doc_string = value.shape, value.type, value.doc_string
    value.name = f"{name}_float"
    plain.name = name


def _quantise_constant(
    model: ir.Model, value: ir.Value, encoding: Encoding, readers: Mapping[tuple[ir.Value, ir.Node], Unit]
) -> None:
    array = constant(value)
    assert array is not None
    name = str(value.name)
    codes = initializer(model, f"{name}_quantized", encoding.quantise(array))
    node = ir.node("DequantizeLinear", [codes, *_parameters(model, name, encoding)], name=f"{name}_DequantizeLinear")
    plain = node.outputs[0]
    plain.name, plain.shape, plain.dtype = f"{name}_DequantizeLinear_Output", ir.Shape(array.shape), ir.DataType.FLOAT
    model.graph.insert_before(model.graph[0], node)
    for use in list(value.uses()):
        if (value, use.node) in readers:
            use.node.replace_input_with(use.idx, plain)


def _dequantised(
    model: ir.Model, prefix: str, codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray, axis: int
) -> ir.Value:
    if prefix + "_quantized" in model.graph.initializers:
        existing = model.graph.initializers[prefix + "_quantized"]
        return next(iter(existing.uses())).node.outputs[0]
    values = [
        initializer(model, prefix + suffix, array)
        for suffix, array in (("_quantized", codes), ("_scale", scales), ("_zero_point", zeros))
    ]
    node = ir.node("DequantizeLinear", values, {"axis": axis}, name=f"{prefix}_DequantizeLinear")
    out = node.outputs[0]
    out.name, out.shape, out.dtype = f"{prefix}_DequantizeLinear_Output", ir.Shape(codes.shape), ir.DataType.FLOAT
    model.graph.insert_before(model.graph[0], node)
    return out


def _parameters(model: ir.Model, name: str, encoding: Encoding) -> tuple[ir.Value, ir.Value]:
    return (
        initializer(model, f"{name}_scale", np.asarray(encoding.scale)),
        initializer(model, f"{name}_zero_point", np.asarray(encoding.zero_point)),
    )


def scale_type(encoding: Encoding) -> ir.DataType:
    """The ONNX type of an encoding's codes."""
    return ir.DataType.from_numpy(np.asarray(encoding.zero_point).dtype)


def initializer(model: ir.Model, name: str, array: np.ndarray) -> ir.Value:
    """Register ``array`` as an initializer of the main graph under ``name``, or under a free name like it."""
    taken, unique, count = model.graph.initializers, name, 0
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    tensor = ir.tensor(np.ascontiguousarray(array) if array.ndim else array, name=unique)
    value = ir.Value(name=unique, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    model.graph.register_initializer(value)
    return value


def _constant_named(model: ir.Model, name: str) -> ir.Value:
    if name in model.graph.initializers:
        return model.graph.initializers[name]
    return next(value for node in model.graph for value in node.outputs if value.name == name)
