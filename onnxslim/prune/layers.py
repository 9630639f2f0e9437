"""The layers that least squares can fit: every Conv, Gemm and MatMul with a constant weight, seen as y = W x + b."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.prune import windows
from onnxslim.prune.gram import sample_positions

_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True)
class Layer:
    """One linear layer of a graph.

    Attributes:
        position: Of its node in the graph.
        name: Of its node, or its output's.
        op: Conv, ConvTranspose, Gemm or MatMul.
        input: The tensor that carries x.
        raw: The tensor that the node puts out.
        output: The tensor that carries y: ``raw``, or what a constant bias added to it gives.
        groups: g, the groups of a convolution, else 1.
        biased: Whether there is a place for a bias.
        spread: Columns of W that one input channel owns: the kernel's size, else 1.
        columns: d, of W in all.
    """

    position: int
    name: str
    op: str
    input: str
    raw: str
    output: str
    groups: int
    biased: bool
    spread: int
    columns: int


def find(graph: ir.Graph) -> list[Layer]:
    """The layers of ``graph``, in its order."""
    found = []
    for position, node in enumerate(graph):
        if node.domain not in _DOMAINS or node.op_type not in _WEIGHT:
            continue
        weight = constant(node.inputs[1]) if len(node.inputs) > 1 else None
        if weight is None or constant(node.inputs[0]) is not None or not _WEIGHT[node.op_type](node, weight):
            continue
        bias = _bias(node)
        out = node.outputs[0]
        found.append(
            Layer(
                position=position,
                name=node.name or str(out.name),
                op=node.op_type,
                input=str(node.inputs[0].name if node.inputs[0] is not None else ""),
                raw=str(out.name),
                output=str((bias[0].outputs[0] if bias is not None else out).name),
                groups=node.attributes.get_int("group", 1) if node.op_type == "Conv" else 1,
                biased=node.op_type != "MatMul" or bias is not None,
                spread=int(np.prod(weight.shape[2:])) if node.op_type in windows.OPS else 1,
                columns=int(np.prod(_turned(node, weight).shape[1:])),
            )
        )
    return found


def matrix(layer: Layer, node: ir.Node) -> np.ndarray:
    """W and b of ``layer`` as one matrix: float64 (g, m, d + 1), the bias last; ``node`` is its node."""
    weight = _turned(node, _constant(node, 1))
    outputs = len(weight)
    place = _bias(node)
    found = constant(place[0].inputs[place[1]]) if place is not None else None
    bias = np.zeros(outputs) if found is None else np.broadcast_to(found.reshape(-1), (outputs,))
    whole = np.concatenate([weight.reshape(outputs, -1), bias[:, None]], axis=1, dtype=np.float64)
    return whole.reshape(layer.groups, outputs // layer.groups, -1)


def _turned(node: ir.Node, weight: np.ndarray) -> np.ndarray:
    """The weight with its outputs first, as a convolution has it, or back: either way the same."""
    if node.op_type == "ConvTranspose":
        return windows.mirrored(weight)
    backwards = node.op_type == "MatMul" or (node.op_type == "Gemm" and not node.attributes.get_int("transB", 0))
    return weight.T if backwards else weight


def weight_of(node: ir.Node) -> np.ndarray:
    """The constant weight of a layer's node, as the op holds it."""
    return _constant(node, 1)


def bias_of(node: ir.Node) -> np.ndarray | None:
    """The constant bias of a layer's node: its own, or that of the Add behind it."""
    place = _bias(node)
    return constant(place[0].inputs[place[1]]) if place is not None else None


def assign(layer: Layer, node: ir.Node, whole: np.ndarray) -> None:
    """Give ``layer`` the weights and bias in ``whole`` (g, m, d + 1), in place, in the dtype it had.

    A constant with other readers is left to them.
    """
    old = _constant(node, 1)
    flat = whole.reshape(-1, whole.shape[2])
    weight = _turned(node, flat[:, :-1].reshape(_turned(node, old).shape))
    put(node, 1, np.ascontiguousarray(weight, old.dtype))
    place = _bias(node)
    if place is not None:
        reader, index = place
        before = constant(reader.inputs[index])
        shape = (len(flat),) if before is None or before.size != len(flat) else before.shape
        put(reader, index, flat[:, -1].reshape(shape).astype(old.dtype))
    elif layer.biased:
        put(node, 2, flat[:, -1].astype(old.dtype))


def rows(
    layer: Layer, node: ir.Node, x: np.ndarray, outputs: Sequence[np.ndarray], each: int, first: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Rows of inputs and, at the same positions, of tensors shaped like the layer's output.

    Args:
        layer: The layer.
        node: Its node.
        x: What the layer reads, (n, …).
        outputs: Tensors like what it gives out, (n, …).
        each: Positions to keep of every sample.
        first: How many samples came before, so that batches go on where the last one stopped.
        seed: Of the choice of positions.

    Returns:
        (g, n · p, d), and (g, n · p, m) for each of ``outputs``.
    """
    key = [seed, zlib.crc32(layer.raw.encode())]
    if layer.op in windows.OPS:
        x, window = windows.view(node, x)
        size = int(np.prod(window.output(x.shape[2:])))
        at = sample_positions(size, each, first, len(x), key)
        patches = windows.unfold(x, window, at)
        found = [
            np.take_along_axis(y.reshape(len(y), -1, size), at[:, None, :], axis=2).transpose(0, 2, 1) for y in outputs
        ]
    else:
        flat = x.reshape(len(x), -1, x.shape[-1])
        at = sample_positions(flat.shape[1], each, first, len(x), key)
        patches = np.take_along_axis(flat, at[..., None], axis=1)
        found = [np.take_along_axis(y.reshape(len(y), -1, y.shape[-1]), at[..., None], axis=1) for y in outputs]

    def grouped(array: np.ndarray) -> np.ndarray:
        return array.reshape(at.size, layer.groups, -1).transpose(1, 0, 2)

    return grouped(patches), [grouped(array) for array in found]


def flat(value: ir.Value) -> tuple[float, float]:
    """Below and above which numbers everything that reads ``value`` cannot tell them apart; -inf and inf if it can."""
    bounds = [_FLAT[user.op_type](user) if user.op_type in _FLAT else None for user, _ in value.uses()]
    if value.is_graph_output() or not bounds:
        return -np.inf, np.inf
    known = [bound for bound in bounds if bound is not None]
    if len(known) < len(bounds):
        return -np.inf, np.inf
    return min(low for low, _ in known), max(high for _, high in known)


def _clip(node: ir.Node) -> tuple[float, float]:
    bounds = []
    for index, name, default in ((1, "min", -np.inf), (2, "max", np.inf)):
        given = node.inputs[index] if index < len(node.inputs) else None
        array = constant(given)
        if given is not None:
            bounds.append(default if array is None else float(array.reshape(-1)[0]))
        else:
            bounds.append(node.attributes.get_float(name, default))
    return bounds[0], bounds[1]


def _hard_sigmoid(node: ir.Node) -> tuple[float, float]:
    alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
    return (-beta / alpha, (1 - beta) / alpha) if alpha > 0 else (-np.inf, np.inf)


#: op type -> below and above which inputs its output stands still
_FLAT: dict[str, Callable[[ir.Node], tuple[float, float]]] = {
    "Relu": lambda node: (0.0, np.inf),
    "Clip": _clip,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda node: (-3.0, np.inf),
}


def _conv_fits(node: ir.Node, weight: np.ndarray) -> bool:
    return weight.ndim >= 3


def _conv_transpose_fits(node: ir.Node, weight: np.ndarray) -> bool:
    """One group, and no padding beyond what the kernel reaches over: the rest would be cropped."""
    plain = node.attributes.get_int("group", 1) == 1 and "output_shape" not in node.attributes
    return weight.ndim >= 3 and plain and windows.can_stuff(node)


def _gemm_fits(node: ir.Node, weight: np.ndarray) -> bool:
    plain = not node.attributes.get_int("transA", 0) and node.attributes.get_float("alpha", 1.0) == 1.0
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return plain
    outputs = weight.shape[0 if node.attributes.get_int("transB", 0) else 1]
    bias = constant(node.inputs[2])
    return (
        plain
        and node.attributes.get_float("beta", 1.0) == 1.0
        and bias is not None
        and bias.size in (1, outputs)
        and (bias.ndim < 2 or bias.shape[-1] == bias.size)
    )


def _matmul_fits(node: ir.Node, weight: np.ndarray) -> bool:
    return weight.ndim == 2


#: op type -> whether a node of it, with this weight, is a plain y = W x + b
_WEIGHT = {"Conv": _conv_fits, "ConvTranspose": _conv_transpose_fits, "Gemm": _gemm_fits, "MatMul": _matmul_fits}


def _bias(node: ir.Node) -> tuple[ir.Node, int] | None:
    """The node and input that add a constant bias: the layer's own third input, or an Add right after a MatMul."""
    if node.op_type != "MatMul":
        return (node, 2) if len(node.inputs) > 2 and constant(node.inputs[2]) is not None else None
    uses = node.outputs[0].uses()
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    (add, index) = next(iter(uses))
    if add.op_type != "Add" or add.domain not in _DOMAINS:
        return None
    bias = constant(add.inputs[1 - index])
    outputs = _constant(node, 1).shape[-1]
    return (add, 1 - index) if bias is not None and bias.size == outputs == bias.shape[-1] else None


def _constant(node: ir.Node, index: int) -> np.ndarray:
    found = constant(node.inputs[index])
    if found is None:
        raise KeyError(f"{node.name}: input {index} is no constant")
    return found


def put(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Make input ``index`` of ``node`` the constant ``array``, under the name it had unless others read that too."""
    old = node.inputs[index] if index < len(node.inputs) else None
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise KeyError(f"{node.name}: not in a graph")
    taken = graph.initializers
    if old is not None and taken.get(old.name or "") is old and len(old.uses()) == 1:
        old.const_value = ir.tensor(array, name=old.name)
        old.shape = ir.Shape(array.shape)
        return
    base = f"{node.outputs[0].name}_{'weight' if index == 1 else 'bias'}"
    name = base
    number = 0
    while name in taken:
        number += 1
        name = f"{base}_{number}"
    new = ir.Value(name=name, const_value=ir.tensor(array, name=name))
    new.type = ir.TensorType(new.const_value.dtype) if new.const_value is not None else None
    new.shape = ir.Shape(array.shape)
    taken.add(new)
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, new)
