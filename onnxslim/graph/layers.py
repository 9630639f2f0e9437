"""Linear layers: every Conv, ConvTranspose, Gemm and MatMul with a constant weight, seen as y = W x + b.

One op holds its outputs along this axis of the weight, the next along that one; here alone it is known which. Kept
elsewhere, for it is more or other than that: which products count (:mod:`onnxslim.graph.cost`), which inputs of any op are
trained (``recovery``), what an op does to channels (``channels``), and which weights have one scale (``quantization``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array, get_const_tensor
from onnxslim.graph.conv_geometry import is_plain_transpose
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.im2col import mirror_kernel

#: Ops whose second input is a weight with a kernel.
CONV_OPS = frozenset({"Conv", "ConvTranspose"})
#: Ops that sum products of what they read and of a weight, their second input.
LAYER_OPS = CONV_OPS | {"Gemm", "MatMul"}


def get_output_axis(node: ir.Node) -> int:
    """The axis of a layer's weight that its outputs lie on (those of one group for a ConvTranspose)."""
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type, -1)


@dataclass(frozen=True)
class LinearLayer:
    """A node as a linear layer. Nothing is remembered but the node, so the view stays true while the graph changes.

    Everything that needs the weight raises KeyError if that is no constant.

    Attributes:
        node: One of :data:`LAYER_OPS`.
    """

    node: ir.Node

    @property
    def name(self) -> str:
        """Its node's name, or its output's."""
        return self.node.name or self.node_output

    @property
    def op(self) -> str:
        """Conv, ConvTranspose, Gemm or MatMul."""
        return self.node.op_type

    @property
    def input(self) -> str:
        """The name of the tensor that carries x."""
        value = self.node.inputs[0]
        return "" if value is None else str(value.name)

    @property
    def node_output(self) -> str:
        """The name of the tensor that the node puts out."""
        return str(self.node.outputs[0].name)

    @property
    def output(self) -> ir.Value:
        """The tensor that carries y: the node's output, or what a constant bias added to it gives."""
        bias = self.bias_input
        return (self.node if bias is None else bias[0]).outputs[0]

    @property
    def weight(self) -> np.ndarray:
        """The weight as the op holds it."""
        weight = get_const_array(self.node.inputs[1])
        if weight is None:
            raise KeyError(f"{self.node.name}: its weight is no constant")
        return weight

    @property
    def output_axis(self) -> int:
        """The axis of the weight that the outputs lie on (those of one group for a ConvTranspose)."""
        return get_output_axis(self.node) % self.weight.ndim

    @property
    def input_axis(self) -> int:
        """The axis of the weight that the inputs lie on (those of one group for a Conv)."""
        return 1 - self.output_axis

    @property
    def groups(self) -> int:
        """g, the groups of a convolution, else 1."""
        return self.node.attributes.get_int("group", 1) if self.op in CONV_OPS else 1

    @property
    def is_depthwise(self) -> bool:
        """Whether it is a Conv each of whose outputs reads one input, and each input has one output."""
        return self.op == "Conv" and self.groups > 1 and self.weight.shape[:2] == (self.groups, 1)

    @property
    def outputs(self) -> int:
        """How many outputs there are."""
        return int(self.weight.shape[self.output_axis]) * (self.groups if self.op == "ConvTranspose" else 1)

    @property
    def output_first(self) -> np.ndarray:
        """The weight with its outputs first, as a Conv holds it: (m, c, *kernel)."""
        return self.as_stored(self.weight)

    @property
    def kernel_size(self) -> int:
        """Columns of W that one input channel owns: the kernel's size, else 1."""
        return int(np.prod(self.weight.shape[2:]))

    @property
    def columns(self) -> int:
        """d, the columns of W."""
        return int(np.prod(self.output_first.shape[1:]))

    @property
    def bias_input(self) -> tuple[ir.Node, int] | None:
        """The node and input that add a constant bias: its own third input, or that of an Add right after a MatMul."""
        if self.op != "MatMul":
            has_own = len(self.node.inputs) > 2 and get_const_tensor(self.node.inputs[2]) is not None
            return (self.node, 2) if has_own else None
        product, weight = self.node.outputs[0], get_const_tensor(self.node.inputs[1])
        uses = product.uses()
        if weight is None or len(uses) != 1 or product.is_graph_output():
            return None
        add, index = next(iter(uses))
        if add.op_type != "Add" or add.domain or add.graph is not self.node.graph:
            return None
        bias = get_const_tensor(add.inputs[1 - index])
        is_bias = bias is not None and len(bias.shape) > 0 and bias.size == bias.shape[-1] == weight.shape[-1]
        return (add, 1 - index) if is_bias else None

    @property
    def has_bias(self) -> bool:
        """Whether there is a place for a bias."""
        return self.op != "MatMul" or self.bias_input is not None

    @property
    def bias(self) -> np.ndarray | None:
        """The constant bias, its own or that of the Add behind it."""
        place = self.bias_input
        return None if place is None else get_const_array(place[0].inputs[place[1]])

    def matrix(self) -> np.ndarray:
        """W and b as one matrix: float64 (g, m / g, d + 1), the bias last."""
        weight, bias_value = self.output_first, self.bias
        outputs = len(weight)
        bias = np.zeros(outputs) if bias_value is None else np.broadcast_to(bias_value.reshape(-1), (outputs,))
        combined = np.concatenate([weight.reshape(outputs, -1), bias[:, None]], axis=1, dtype=np.float64)
        return combined.reshape(self.groups, outputs // self.groups, -1)

    def assign(self, combined: np.ndarray) -> None:
        """Give the layer the weights and bias in ``combined`` (g, m / g, d + 1), in place, in the dtype it had.

        A constant with other readers is left to them.
        """
        dtype, flat = self.weight.dtype, combined.reshape(-1, combined.shape[2])
        weight = self.as_stored(flat[:, :-1].reshape(self.output_first.shape))
        self.assign_weight(weight)
        place, old_bias = self.bias_input, self.bias
        if place is not None:
            shape = (len(flat),) if old_bias is None or old_bias.size != len(flat) else old_bias.shape
            _set_constant(*place, flat[:, -1].reshape(shape).astype(dtype))
        elif self.has_bias:
            self.assign_bias(flat[:, -1].astype(dtype))

    def assign_weight(self, weight: np.ndarray) -> None:
        """Give the layer another weight, which is as the op holds it, in place, in the dtype it had."""
        _set_constant(self.node, 1, weight.astype(self.weight.dtype))

    def assign_bias(self, bias: np.ndarray) -> None:
        """Give a layer that is no MatMul the bias (m,), in place."""
        _set_constant(self.node, 2, bias)

    def as_stored(self, weight: np.ndarray) -> np.ndarray:
        """A weight with its outputs first as the op holds it, or back from there: either way the same."""
        if self.op == "ConvTranspose":
            return mirror_kernel(weight)
        return weight if get_output_axis(self.node) == 0 else weight.T


def find_linear_layers(graph: ir.Graph) -> dict[int, LinearLayer]:
    """The layers of ``graph`` that are y = W x + b and nothing else, by the positions of their nodes, in order."""
    return {position: LinearLayer(node) for position, node in enumerate(graph) if _is_plain_layer(node)}


def _is_plain_layer(node: ir.Node) -> bool:
    if node.domain or node.op_type not in LAYER_OPS or len(node.inputs) < 2 or get_const_tensor(node.inputs[0]) is not None:
        return False
    weight = get_const_tensor(node.inputs[1])
    if weight is None:
        return False
    if node.op_type == "Gemm":
        return _is_plain_gemm(LinearLayer(node))
    if node.op_type == "MatMul":
        return len(weight.shape) == 2
    return len(weight.shape) >= 3 and (node.op_type == "Conv" or is_plain_transpose(node))


def _is_plain_gemm(layer: LinearLayer) -> bool:
    attributes, inputs = layer.node.attributes, layer.node.inputs
    if attributes.get_int("transA", 0) or attributes.get_float("alpha", 1.0) != 1.0:
        return False
    if len(inputs) < 3 or inputs[2] is None:
        return True
    bias = layer.bias
    return (
        attributes.get_float("beta", 1.0) == 1.0
        and bias is not None
        and bias.size in (1, layer.outputs)
        and (bias.ndim < 2 or bias.shape[-1] == bias.size)
    )


def _set_constant(node: ir.Node, index: int, array: np.ndarray) -> None:
    """Make input ``index`` of ``node`` the constant ``array``, under the name it had unless others read that too."""
    assert isinstance(node.graph, ir.Graph)
    stem = f"{node.outputs[0].name}_{'weight' if index == 1 else 'bias'}"
    GraphEditor(node.graph, numbered_from=1).set_constant(node, index, array, stem)
