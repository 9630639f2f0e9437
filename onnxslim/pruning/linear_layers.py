"""The layers that least squares can fit: every Conv, Gemm and MatMul with a constant weight, seen as y = W x + b."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.conv_geometry import is_plain_transpose, prepare_input
from onnxslim.graph.im2col import mirror_kernel, unfold
from onnxslim.pruning.statistics.second_moments import sample_positions

CONV_OPS = frozenset({"Conv", "ConvTranspose"})


@dataclass(frozen=True)
class LinearLayer:
    """One linear layer of a graph.

    Attributes:
        position: Of its node in the graph.
        name: Of its node, or its output's.
        op: Conv, ConvTranspose, Gemm or MatMul.
        input: The tensor that carries x.
        node_output: The tensor that the node puts out.
        output: The tensor that carries y: ``node_output``, or what a constant bias added to it gives.
        groups: g, the groups of a convolution, else 1.
        has_bias: Whether there is a place for a bias.
        kernel_size: Columns of W that one input channel owns: the kernel's size, else 1.
        columns: d, of W in all.
    """

    position: int
    name: str
    op: str
    input: str
    node_output: str
    output: str
    groups: int
    has_bias: bool
    kernel_size: int
    columns: int


def find_linear_layers(graph: ir.Graph) -> list[LinearLayer]:
    """The layers of ``graph``, in its order."""
    layers = []
    for position, node in enumerate(graph):
        if node.domain or node.op_type not in _IS_LINEAR:
            continue
        weight = get_const_array(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is None or get_const_array(node.inputs[0]) is not None or not _IS_LINEAR[node.op_type](node, weight):
            continue
        bias = _find_bias(node)
        out = node.outputs[0]
        layers.append(
            LinearLayer(
                position=position,
                name=node.name or str(out.name),
                op=node.op_type,
                input=str(node.inputs[0].name if node.inputs[0] is not None else ""),
                node_output=str(out.name),
                output=str((bias[0].outputs[0] if bias is not None else out).name),
                groups=node.attributes.get_int("group", 1) if node.op_type == "Conv" else 1,
                has_bias=node.op_type != "MatMul" or bias is not None,
                kernel_size=int(np.prod(weight.shape[2:])) if node.op_type in CONV_OPS else 1,
                columns=int(np.prod(_output_first(node, weight).shape[1:])),
            )
        )
    return layers


def get_matrix(layer: LinearLayer, node: ir.Node) -> np.ndarray:
    """W and b of ``layer`` as one matrix: float64 (g, m, d + 1), the bias last; ``node`` is its node."""
    weight = _output_first(node, _get_constant(node, 1))
    outputs = len(weight)
    bias_input = _find_bias(node)
    bias_value = get_const_array(bias_input[0].inputs[bias_input[1]]) if bias_input is not None else None
    bias = np.zeros(outputs) if bias_value is None else np.broadcast_to(bias_value.reshape(-1), (outputs,))
    combined = np.concatenate([weight.reshape(outputs, -1), bias[:, None]], axis=1, dtype=np.float64)
    return combined.reshape(layer.groups, outputs // layer.groups, -1)


def _output_first(node: ir.Node, weight: np.ndarray) -> np.ndarray:
    """The weight with its outputs first, as a convolution has it, or back: either way the same."""
    if node.op_type == "ConvTranspose":
        return mirror_kernel(weight)
    is_transposed = node.op_type == "MatMul" or (node.op_type == "Gemm" and not node.attributes.get_int("transB", 0))
    return weight.T if is_transposed else weight


def get_weight(node: ir.Node) -> np.ndarray:
    """The constant weight of a layer's node, as the op holds it."""
    return _get_constant(node, 1)


def get_bias(node: ir.Node) -> np.ndarray | None:
    """The constant bias of a layer's node: its own, or that of the Add behind it."""
    bias_input = _find_bias(node)
    return get_const_array(bias_input[0].inputs[bias_input[1]]) if bias_input is not None else None


def set_matrix(layer: LinearLayer, node: ir.Node, combined: np.ndarray) -> None:
    """Give ``layer`` the weights and bias in ``combined`` (g, m, d + 1), in place, in the dtype it had.

    A constant with other readers is left to them.
    """
    old_weight = _get_constant(node, 1)
    flat = combined.reshape(-1, combined.shape[2])
    weight = _output_first(node, flat[:, :-1].reshape(_output_first(node, old_weight).shape))
    set_constant(node, 1, np.ascontiguousarray(weight, old_weight.dtype))
    bias_input = _find_bias(node)
    if bias_input is not None:
        reader, index = bias_input
        old_bias = get_const_array(reader.inputs[index])
        shape = (len(flat),) if old_bias is None or old_bias.size != len(flat) else old_bias.shape
        set_constant(reader, index, flat[:, -1].reshape(shape).astype(old_weight.dtype))
    elif layer.has_bias:
        set_constant(node, 2, flat[:, -1].astype(old_weight.dtype))


def sample_rows(
    layer: LinearLayer,
    node: ir.Node,
    x: np.ndarray,
    outputs: Sequence[np.ndarray],
    per_sample: int,
    first_sample: int,
    seed: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows of inputs and, at the same positions, of tensors shaped like the layer's output.

    Args:
        layer: The layer.
        node: Its node.
        x: What the layer reads, (n, …).
        outputs: Tensors like what it gives out, (n, …).
        per_sample: Positions to keep of every sample.
        first_sample: How many samples came before, so that batches go on where the last one stopped.
        seed: Of the choice of positions.

    Returns:
        (g, n · p, d), and (g, n · p, m) for each of ``outputs``.
    """
    rng_seed = [seed, zlib.crc32(layer.node_output.encode())]
    if layer.op in CONV_OPS:
        x, window = prepare_input(node, x)
        size = int(np.prod(window.output_shape(x.shape[2:])))
        sampled_positions = sample_positions(size, per_sample, first_sample, len(x), rng_seed)
        patches = unfold(x, window, sampled_positions)
        output_rows = [
            np.take_along_axis(y.reshape(len(y), -1, size), sampled_positions[:, None, :], axis=2).transpose(0, 2, 1)
            for y in outputs
        ]
    else:
        flat = x.reshape(len(x), -1, x.shape[-1])
        sampled_positions = sample_positions(flat.shape[1], per_sample, first_sample, len(x), rng_seed)
        patches = np.take_along_axis(flat, sampled_positions[..., None], axis=1)
        output_rows = [
            np.take_along_axis(y.reshape(len(y), -1, y.shape[-1]), sampled_positions[..., None], axis=1) for y in outputs
        ]

    def grouped(array: np.ndarray) -> np.ndarray:
        return array.reshape(sampled_positions.size, layer.groups, -1).transpose(1, 0, 2)

    return grouped(patches), [grouped(array) for array in output_rows]


def _is_linear_conv(node: ir.Node, weight: np.ndarray) -> bool:
    return weight.ndim >= 3


def _is_linear_conv_transpose(node: ir.Node, weight: np.ndarray) -> bool:
    return weight.ndim >= 3 and is_plain_transpose(node)


def _is_linear_gemm(node: ir.Node, weight: np.ndarray) -> bool:
    plain = not node.attributes.get_int("transA", 0) and node.attributes.get_float("alpha", 1.0) == 1.0
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return plain
    outputs = weight.shape[0 if node.attributes.get_int("transB", 0) else 1]
    bias = get_const_array(node.inputs[2])
    return (
        plain
        and node.attributes.get_float("beta", 1.0) == 1.0
        and bias is not None
        and bias.size in (1, outputs)
        and (bias.ndim < 2 or bias.shape[-1] == bias.size)
    )


def _is_linear_matmul(node: ir.Node, weight: np.ndarray) -> bool:
    return weight.ndim == 2


#: op type -> whether a node of it, with this weight, is a plain y = W x + b
_IS_LINEAR = {
    "Conv": _is_linear_conv,
    "ConvTranspose": _is_linear_conv_transpose,
    "Gemm": _is_linear_gemm,
    "MatMul": _is_linear_matmul,
}


def _find_bias(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The node and input that add a constant bias: the layer's own third input, or an Add right after a MatMul."""
    if node.op_type != "MatMul":
        return (node, 2) if len(node.inputs) > 2 and get_const_array(node.inputs[2]) is not None else None
    uses = node.outputs[0].uses()
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    (add, index) = next(iter(uses))
    if add.op_type != "Add" or add.domain:
        return None
    bias = get_const_array(add.inputs[1 - index])
    outputs = _get_constant(node, 1).shape[-1]
    return (add, 1 - index) if bias is not None and bias.size == outputs == bias.shape[-1] else None


def _get_constant(node: ir.Node, index: int) -> np.ndarray:
    value = get_const_array(node.inputs[index])
    if value is None:
        raise KeyError(f"{node.name}: input {index} is no constant")
    return value


def set_constant(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Make input ``index`` of ``node`` the constant ``array``, under the name it had unless others read that too."""
    old_value = node.inputs[index] if index < len(node.inputs) else None
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise KeyError(f"{node.name}: not in a graph")
    initializers = graph.initializers
    if old_value is not None and initializers.get(old_value.name or "") is old_value and len(old_value.uses()) == 1:
        old_value.const_value = ir.tensor(array, name=old_value.name)
        old_value.shape = ir.Shape(array.shape)
        return
    base = f"{node.outputs[0].name}_{'weight' if index == 1 else 'bias'}"
    name = base
    number = 0
    while name in initializers:
        number += 1
        name = f"{base}_{number}"
    new_value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    new_value.type = ir.TensorType(new_value.const_value.dtype) if new_value.const_value is not None else None
    new_value.shape = ir.Shape(array.shape)
    initializers.add(new_value)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, new_value)
