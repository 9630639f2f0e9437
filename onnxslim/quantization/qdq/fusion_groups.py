"""Which parts of a graph could run in int8, which will, and which tensors therefore get a QuantizeLinear.

A :class:`FusionGroup` is what the runtime fuses into one kernel: a layer with its bias and the Relu or Clip behind it.
Units are labelled int8 or float as a whole (``placement.py`` decides), and a :class:`QuantizationPlan` follows from the
labels without choice: tensors between int8 units get one pair of parameters each, and tensors that a data-moving op
connects share theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import onnx_ir as ir
from scipy.cluster.hierarchy import DisjointSet

from onnxslim.data.missing_values import find_missing_values
from onnxslim.graph import shapes
from onnxslim.graph.clip_bounds import get_clip_bounds
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.finite_weights import find_nonfinite_weights
from onnxslim.graph.layers import LinearLayer
from onnxslim.quantization.linear_layers import NOT_FINITE_REASON
from onnxslim.quantization.targets.base import OpKind, SupportedOp, Target

_NO_KERNEL = "the target has no int8 kernel for it"


@dataclass(frozen=True, eq=False)
class FusionGroup:
    """Nodes that are int8 or float together.

    Attributes:
        nodes: The op that gives the unit its row, then what folds into its output, in order.
        supported_op: Its row of the target's table, or None.
        why_float: Why it cannot be int8, or None when it can.
    """

    nodes: tuple[ir.Node, ...]
    supported_op: SupportedOp | None
    why_float: str | None

    @property
    def anchor(self) -> ir.Node:
        """The node that does the work."""
        return self.nodes[0]

    @property
    def name(self) -> str:
        """The anchor's name; ``name_nodes`` made it unique."""
        return self.anchor.name or ""

    @property
    def op(self) -> str:
        """The anchor's op type."""
        return self.anchor.op_type

    @property
    def layer(self) -> LinearLayer:
        """The anchor of a unit with weights as a linear layer."""
        return LinearLayer(self.anchor)

    @property
    def has_weights(self) -> bool:
        """Whether it has int8 weights."""
        return self.supported_op is not None and self.supported_op.kind is OpKind.WEIGHTED

    @property
    def shares_parameters(self) -> bool:
        """Whether its input and output share their parameters."""
        return self.supported_op is not None and self.supported_op.kind is OpKind.SHARED_RANGE

    @property
    def inputs(self) -> tuple[ir.Value, ...]:
        """What must come dequantised when the unit is int8: the activations, and an OWN op's constants."""
        if self.supported_op is not None and self.supported_op.kind is OpKind.OWN_RANGE:
            activations = self.anchor.inputs[slice(*self.supported_op.activation_inputs)]
            return tuple(dict.fromkeys(value for value in activations if value is not None))
        first = self.anchor.inputs[0] if self.anchor.inputs else None
        return () if first is None else (first,)

    @cached_property
    def outputs(self) -> tuple[ir.Value, ...]:
        """The tensors that leave the unit."""
        return tuple(value for value in self.nodes[-1].outputs if value.name)

    @property
    def clip_range(self) -> tuple[float, float]:
        """The range that the folded activations leave, ±inf where there is none."""
        low, high = -float("inf"), float("inf")
        for node in self.nodes:
            if node.op_type in ("Relu", "Clip"):
                bounds = get_clip_bounds(node)
                low = max(low, bounds[0] if bounds[0] is not None else low)
                high = min(high, bounds[1] if bounds[1] is not None else high)
        return low, high


def find_fusion_groups(model: ir.Model, target: Target, exclude: Sequence[str] = ()) -> list[FusionGroup]:
    """The units of the main graph, in order.

    Args:
        model: Simplified, nodes named (:func:`~onnxslim.graph.traversal.name_nodes`).
        target: Whose table to read.
        exclude: Regular expressions; a node whose name matches one whole stays float.
    """
    all_units: list[FusionGroup] = []
    absorbed: set[ir.Node] = set()
    missing_values = find_missing_values(model.graph)
    for node in model.graph:
        if node in absorbed or node.op_type == "Constant":
            continue
        supported_op = None if node.domain else target.supported_ops.get(node.op_type)
        reason = _NO_KERNEL if supported_op is None else supported_op.check(node)
        if reason is None and any(re.fullmatch(pattern, node.name or "") for pattern in exclude):
            reason = "it was excluded"
        if reason is None and any(True for _ in find_nonfinite_weights((node,))):
            reason = NOT_FINITE_REASON
        if reason is None and any(0 in (shapes.get_static_dims(value) or (1,)) for value in node.inputs):
            reason = "it reads a tensor of no elements"
        if reason is None and not missing_values.isdisjoint(node.outputs):
            reason = "the model asks which of its numbers are NaN, and int8 has none"
        members = (node, *_find_folded_nodes(node, supported_op, target)) if reason is None else (node,)
        absorbed.update(members)
        all_units.append(FusionGroup(members, supported_op, reason))
    return all_units


def _find_folded_nodes(node: ir.Node, supported_op: SupportedOp | None, target: Target) -> Iterable[ir.Node]:
    """The bias Add of a MatMul and the Relu or Clip that only ``node`` feeds."""
    if supported_op is None or supported_op.kind in (OpKind.SHARED_RANGE, OpKind.FOLD):
        return
    if node.op_type == "MatMul" and (bias_input := LinearLayer(node).bias_input) is not None:
        node = bias_input[0]
        yield node
    while (activation := _find_only_consumer(node, "Relu", "Clip")) is not None:
        activation_op = target.supported_ops.get(activation.op_type)
        if activation_op is None or activation_op.check(activation) is not None:
            return
        yield activation
        node = activation


def _find_only_consumer(node: ir.Node, *ops: str) -> ir.Node | None:
    output = node.outputs[0]
    uses = list(output.uses())
    if len(node.outputs) != 1 or len(uses) != 1 or output.is_graph_output():
        return None
    consumer = uses[0].node
    return consumer if consumer.op_type in ops and consumer.graph is node.graph else None


@dataclass(frozen=True)
class QuantizationPlan:
    """Which units run in int8, and which tensors are quantised for them.

    Attributes:
        units: All units of the graph, in order.
        int8: Names of the units that will run in int8.
        tensors: Quantised activations by name → the group whose scale and zero point they share.
        constants: Float constants that an int8 op reads as an activation, by name.
        float_output: Names of int8 units whose output stays float (nothing int8 reads it).
    """

    units: tuple[FusionGroup, ...]
    int8: frozenset[str]
    tensors: dict[str, str] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    float_output: frozenset[str] = frozenset()

    def list_tensor_groups(self) -> dict[str, list[str]]:
        """Group → its tensors, both in graph order."""
        result: dict[str, list[str]] = {}
        for name, group in self.tensors.items():
            result.setdefault(group, []).append(name)
        return result

    def rebind(self, copy: ir.Model) -> QuantizationPlan:
        """The same plan for a copy of the model, whose nodes have the same names."""
        nodes = {node.name: node for node in copy.graph}
        rebound = [replace(unit, nodes=tuple(nodes[node.name] for node in unit.nodes)) for unit in self.units]
        return replace(self, units=tuple(rebound))


def make_plan(all_units: Sequence[FusionGroup], int8: Iterable[str]) -> QuantizationPlan:
    """What follows from the labels ``int8`` (names of units)."""
    int8_names = frozenset(int8)
    int8_units = [unit for unit in all_units if unit.name in int8_names]
    quantized_values: dict[ir.Value, None] = {}
    constants: dict[str, None] = {}
    for unit in int8_units:
        for value in unit.inputs:
            if get_const_array(value) is not None:
                constants[str(value.name)] = None
            else:
                quantized_values[value] = None
    float_output: set[str] = set()
    for unit in int8_units:
        if _can_output_float(unit) and not any(value in quantized_values for value in unit.outputs):
            float_output.add(unit.name)
        else:
            quantized_values.update(dict.fromkeys(unit.outputs))
    return QuantizationPlan(
        tuple(all_units),
        int8_names,
        _assign_tensor_groups(quantized_values, int8_units),
        tuple(constants),
        frozenset(float_output),
    )


def make_weights_plan(all_units: Sequence[FusionGroup], int8: Iterable[str]) -> QuantizationPlan:
    """The units ``int8`` (names, of those with weights) with int8 weights, and every activation in float."""
    return QuantizationPlan(tuple(all_units), frozenset(int8))


def _can_output_float(unit: FusionGroup) -> bool:
    """A linear layer has a kernel with a float output; a Conv or an elementwise op needs its output quantised."""
    has_no_activation = len(unit.nodes) == 1 + (unit.nodes[-1].op_type == "Add")
    return unit.supported_op is not None and unit.supported_op.float_output and has_no_activation


def _assign_tensor_groups(quantized_values: Iterable[ir.Value], int8_units: Iterable[FusionGroup]) -> dict[str, str]:
    """Tensors that same-scale ops connect share a group, named after the first of them."""
    names = [str(value.name) for value in quantized_values]
    groups = DisjointSet(names)
    for unit in int8_units:
        for value in unit.outputs if unit.shares_parameters else ():
            groups.merge(str(unit.inputs[0].name), str(value.name))
    first_of_group: dict[str, str] = {}
    return {name: first_of_group.setdefault(groups[name], name) for name in names}
