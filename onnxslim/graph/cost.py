"""What a model costs, counted as the contract says: parameters, multiply-accumulates at batch 1, bytes of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from onnxslim.core.gc_pause import pause_gc
from onnxslim.graph import shapes
from onnxslim.graph.constant_propagation import propagate_constants
from onnxslim.graph.constants import get_const_tensor, iter_initializers
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.signature import freeze_initializer_inputs

FLOAT_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
#: Weights that were float before they were quantised; counting them keeps the parameter ratio of an int8 model honest.
QUANTIZED_TYPES = frozenset(
    {ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT16, ir.DataType.UINT16}
)
#: What reads blocks of codes, with their scales and zero points behind two inputs.
_BLOCK_OPS = ("MatMulNBits", "GatherBlockQuantized")


@dataclass(frozen=True)
class NodeCost:
    """The cost of one node: elements of its own constant inputs, and multiply-accumulates at batch 1."""

    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """The cost of a model.

    Attributes:
        params: Elements of all float (or quantised) initializers, each counted once.
        macs: Multiply-accumulates of one sample; no bias, no elementwise.
        nodes: By node name, for the nodes that multiply.
        unknown: Names of multiplying nodes whose shapes are not known; they count as 0.
    """

    params: int
    macs: int
    nodes: dict[str, NodeCost] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()


@pause_gc()
def compute_cost(model: ir.Model, dims: Mapping[str, int] | None = None) -> Cost:
    """Count ``model`` at batch 1; free dimensions come from ``dims``, else 1, or 224 for spatial ones."""
    bound = model.clone()
    freeze_initializer_inputs(bound)  # what a caller may replace is counted as it comes
    total = count_params(bound)
    unpack_kernels(bound)
    shapes.bind(bound, dims)
    propagate_constants(bound)
    nodes: dict[str, NodeCost] = {}
    unknown: list[str] = []
    for index, node in enumerate(bound.graph.all_nodes()):
        count = MAC_COUNTERS.get(node.op_type) if node.domain in ("", "com.microsoft") else None
        if count is None:
            continue
        name = node.name or f"{node.op_type}_{index}"
        macs = count(node)
        if macs is None:
            unknown.append(name)
        node_params = sum(weight.size for value in node.inputs if (weight := get_const_tensor(value)) is not None)
        nodes[name] = NodeCost(node_params, macs or 0)
    return Cost(total, sum(n.macs for n in nodes.values()), nodes, tuple(unknown))


def count_params(model: ir.Model) -> int:
    """Elements of float initializers and Constant nodes; quantised weights of two or more axes count, scales do not."""
    total = 0
    for _, _, value in iter_initializers(model):
        stored = value.const_value
        if stored is not None and not _is_quantization_param(value):
            total += _packed_params(value) or _count_elements(stored)
    for node in model.graph.all_nodes():
        if node.op_type == "Constant" and (stored := get_const_tensor(node.outputs[0])) is not None:
            total += _count_elements(stored)
    return total


def unpack_kernels(model: ir.Model) -> None:
    """onnxruntime's MatMulNBits, GatherBlockQuantized and DynamicQuantizeLSTM as the MatMul, Gather and LSTM that they are,
    in place: ONNX's inference knows no shape behind the former two.
    """
    editor = GraphEditor(model.graph)
    for node in list(model.graph):
        if node.domain != "com.microsoft":
            continue
        if node.op_type == "MatMulNBits":
            weight = _add_weight(node, "", node.attributes.get_int("K", 0), node.attributes.get_int("N", 0))
            editor.replace_node(node, editor.add_node("MatMul", node.inputs[0], weight, before=node, name="MatMul"))
        elif node.op_type == "GatherBlockQuantized":
            scales = _find_stored_scales(node.inputs[2])
            is_plain = node.attributes.get_int("gather_axis", 0) == 0 and scales is not None and len(scales.shape) == 2
            if scales is not None and is_plain:
                rows, blocks = scales.shape.numpy()
                weight = _add_weight(node, "", rows, blocks * node.attributes.get_int("block_size", 128))
                editor.replace_node(node, editor.add_node("Gather", weight, node.inputs[1], before=node, name="Gather"))
        elif node.op_type == "DynamicQuantizeLSTM":
            for index in (1, 2):
                size = shapes.get_static_dims(node.inputs[index])
                if size is not None and len(size) == 3:  # directions, inputs, gates
                    node.replace_input_with(index, _add_weight(node, f"_{index}", size[0], size[2], size[1]))
            node.resize_inputs(8)
            node.op_type, node.domain = "LSTM", ""


def _find_stored_scales(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant scales of blocks, or those that a Cast makes floats of."""
    cast = None if value is None else value.producer()
    return get_const_tensor(cast.inputs[0] if cast is not None and cast.op_type == "Cast" else value)


def _add_weight(node: ir.Node, suffix: str, *size: int) -> ir.Value:
    """An input of the graph of ``node`` in place of a weight of ``size`` that is stored otherwise."""
    assert isinstance(node.graph, ir.Graph)
    name, kind = f"{node.outputs[0].name}_unpacked{suffix}", ir.TensorType(ir.DataType.FLOAT)
    weight = ir.Value(name=name, shape=ir.Shape(size), type=kind)
    node.graph.inputs.append(weight)
    return weight


def _is_quantization_param(value: ir.Value) -> bool:
    """Whether ``value`` is part of a number format, not a parameter: only Q/DQ nodes read it, as a scale or zero point,
    blocks of codes go with it, cast or not, or it is the codebook that stored indices look weights up in.
    """
    uses = [(use.node, use.idx) for use in value.uses()]
    return bool(uses) and all(
        (node.op_type in ("QuantizeLinear", "DequantizeLinear") and index)
        or (node.op_type in _BLOCK_OPS and index > 1)
        or (node.op_type == "Cast" and _is_read_by_blocks(node.outputs[0]))
        or (node.op_type == "DynamicQuantizeLSTM" and index > 7)
        or (node.op_type == "Mul" and _is_expanding(node))
        or (node.op_type == "Gather" and index == 0 and _stored_indices(node) is not None)
        for node, index in uses
    )


def _is_read_by_blocks(value: ir.Value) -> bool:
    """Whether ``value`` goes with blocks of codes and with nothing else."""
    return bool(value.uses()) and all(use.node.op_type in _BLOCK_OPS and use.idx > 1 for use in value.uses())


def _is_expanding(mul: ir.Node) -> bool:
    """Whether ``mul`` makes weights of stored codes that were cast to floats, at load."""
    casts = [value.producer() for value in mul.inputs if value is not None]
    sources = [get_const_tensor(cast.inputs[0]) for cast in casts if cast is not None and cast.op_type == "Cast"]
    return any(source is not None and source.dtype in QUANTIZED_TYPES for source in sources)


def _packed_params(value: ir.Value) -> int:
    """How many weights the codes in ``value`` stand for where that is not one an element; else 0."""
    for use in value.uses():
        node = use.node
        if node.op_type == "MatMulNBits" and use.idx == 1:
            return node.attributes.get_int("K", 0) * node.attributes.get_int("N", 0)
        for after in node.outputs[0].uses() if node.op_type == "Reshape" and use.idx == 0 else [use]:
            stored = value.const_value
            if after.node.op_type == "GatherBlockQuantized" and after.idx == 0 and stored is not None:
                bits = after.node.attributes.get_int("bits", 4) or 4
                return int(stored.size) * (8 // bits if stored.dtype == ir.DataType.UINT8 else 1)
        if node.op_type == "Cast":
            for after in node.outputs[0].uses():
                table = shapes.get_static_dims(after.node.inputs[0])
                if after.node.op_type == "Gather" and after.idx == 1 and _stored_indices(after.node) is value and table:
                    return int(value.const_value.size if value.const_value is not None else 0) * math.prod(table[1:])
    return 0


def _stored_indices(gather: ir.Node) -> ir.Value | None:
    """The stored bytes that ``gather`` looks up, cast to indices on the way."""
    cast = gather.inputs[1].producer() if gather.inputs[1] is not None else None
    source = cast.inputs[0] if cast is not None and cast.op_type == "Cast" else None
    return source if get_const_tensor(source) is not None else None


def _count_elements(stored: ir.TensorProtocol) -> int:
    if stored.dtype in FLOAT_TYPES or (stored.dtype in QUANTIZED_TYPES and len(stored.shape) > 1):
        return int(stored.size)
    return 0


def _conv_macs(node: ir.Node) -> int | None:
    # each weight is used at every position of the output, or of the input of a transposed one
    feature_map = node.inputs[0] if node.op_type == "ConvTranspose" else node.outputs[0]
    weight, sizes = shapes.get_static_dims(node.inputs[1]), shapes.get_static_dims(feature_map)
    return None if weight is None or sizes is None else math.prod(weight) * math.prod(sizes[2:])


def _matmul_macs(node: ir.Node) -> int | None:
    left, right = shapes.get_static_dims(node.inputs[0]), shapes.get_static_dims(node.outputs[0])
    if not left or right is None:
        return None
    return left[-1] * math.prod(right)


def _gemm_macs(node: ir.Node) -> int | None:
    left, out = shapes.get_static_dims(node.inputs[0]), shapes.get_static_dims(node.outputs[0])
    if left is None or out is None or len(left) != 2:
        return None
    transposed = node.attributes.get_int("transA", 0)
    return left[0 if transposed else 1] * math.prod(out)


#: op type -> multiply-accumulates of one node, None when a shape is missing
MAC_COUNTERS: dict[str, Callable[[ir.Node], int | None]] = {
    "Conv": _conv_macs,
    "ConvInteger": _conv_macs,
    "ConvTranspose": _conv_macs,
    "MatMul": _matmul_macs,
    "MatMulInteger": _matmul_macs,
    "Gemm": _gemm_macs,
}
