"""Which parts of a graph could run in int8, which will, and which tensors therefore get a QuantizeLinear.

A :class:`Unit` is what the runtime fuses into one kernel: a layer with its bias and the Relu or Clip behind it. Units are
labelled int8 or float as a whole (``placement.py`` decides), and a :class:`Plan` follows from the labels without choice:
tensors between int8 units get one pair of parameters each, and tensors that a data-moving op connects share theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.quantize.targets import Kind, Row, Target, clip_bounds

_NO_ROW = "the target has no int8 kernel for it"


@dataclass(frozen=True, eq=False)
class Unit:
    """Nodes that are int8 or float together.

    Attributes:
        nodes: The op that gives the unit its row, then what folds into its output, in order.
        row: Its row of the target's table, or None.
        why_float: Why it cannot be int8, or None when it can.
    """

    nodes: tuple[ir.Node, ...]
    row: Row | None
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
    def weighted(self) -> bool:
        """Whether it has int8 weights."""
        return self.row is not None and self.row.kind is Kind.WEIGHTED

    @property
    def same(self) -> bool:
        """Whether its input and output share their parameters."""
        return self.row is not None and self.row.kind is Kind.SAME

    @property
    def inputs(self) -> tuple[ir.Value, ...]:
        """What must come dequantised when the unit is int8: the activations, and an OWN op's constants."""
        if self.row is not None and self.row.kind is Kind.OWN:
            read = self.anchor.inputs[slice(*self.row.activations)]
            return tuple(dict.fromkeys(value for value in read if value is not None))
        first = self.anchor.inputs[0] if self.anchor.inputs else None
        return () if first is None else (first,)

    @cached_property
    def outputs(self) -> tuple[ir.Value, ...]:
        """The tensors that leave the unit."""
        return tuple(value for value in self.nodes[-1].outputs if value.name)

    @property
    def clip(self) -> tuple[float, float]:
        """The range that the folded activations leave, ±inf where there is none."""
        low, high = -float("inf"), float("inf")
        for node in self.nodes:
            if node.op_type in ("Relu", "Clip"):
                bounds = clip_bounds(node)
                low = max(low, bounds[0] if bounds[0] is not None else low)
                high = min(high, bounds[1] if bounds[1] is not None else high)
        return low, high


def name_nodes(model: ir.Model) -> None:
    """Give every unnamed or ambiguously named node, in bodies too, a unique name, in place."""
    taken: set[str] = set()
    for index, node in enumerate(model.graph.all_nodes()):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)


def units(model: ir.Model, target: Target, exclude: Sequence[str] = ()) -> list[Unit]:
    """The units of the main graph, in order.

    Args:
        model: Simplified, nodes named (:func:`name_nodes`).
        target: Whose table to read.
        exclude: Regular expressions; a node whose name matches one whole stays float.
    """
    found: list[Unit] = []
    absorbed: set[ir.Node] = set()
    for node in model.graph:
        if node in absorbed or node.op_type == "Constant":
            continue
        row = target.rows.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        why = _NO_ROW if row is None else row.check(node)
        if why is None and any(re.fullmatch(pattern, node.name or "") for pattern in exclude):
            why = "it was excluded"
        members = (node, *_folded(node, row, target)) if why is None else (node,)
        absorbed.update(members)
        found.append(Unit(members, row, why))
    return found


def _folded(node: ir.Node, row: Row | None, target: Target) -> Iterable[ir.Node]:
    """The bias Add of a MatMul and the Relu or Clip that only ``node`` feeds."""
    if row is None or row.kind in (Kind.SAME, Kind.FOLD):
        return
    if node.op_type == "MatMul" and (add := _only_consumer(node, "Add")) is not None and _is_bias(add, node):
        yield add
        node = add
    while (after := _only_consumer(node, "Relu", "Clip")) is not None:
        own = target.rows.get(after.op_type)
        if own is None or own.check(after) is not None:
            return
        yield after
        node = after


def _only_consumer(node: ir.Node, *ops: str) -> ir.Node | None:
    output = node.outputs[0]
    uses = list(output.uses())
    if len(node.outputs) != 1 or len(uses) != 1 or output.is_graph_output():
        return None
    consumer = uses[0].node
    return consumer if consumer.op_type in ops and consumer.graph is node.graph else None


def _is_bias(add: ir.Node, matmul: ir.Node) -> bool:
    other = add.inputs[1] if add.inputs[0] is matmul.outputs[0] else add.inputs[0]
    array, weight = constant(other), constant(matmul.inputs[1])
    if array is None or weight is None:
        return False
    return array.ndim > 0 and array.shape[-1] == weight.shape[1] == array.size


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        units: All of them, in graph order.
        int8: Names of the units that will run in int8.
        tensors: Quantised activations by name → the group whose scale and zero point they share.
        constants: Float constants that an int8 op reads as an activation, by name.
        float_output: Names of int8 units whose output stays float (nothing int8 reads it).
    """

    units: tuple[Unit, ...]
    int8: frozenset[str]
    tensors: dict[str, str] = field(default_factory=dict)
    constants: tuple[str, ...] = ()
    float_output: frozenset[str] = frozenset()

    def groups(self) -> dict[str, list[str]]:
        """Group → its tensors, both in graph order."""
        result: dict[str, list[str]] = {}
        for name, group in self.tensors.items():
            result.setdefault(group, []).append(name)
        return result

    def on(self, copy: ir.Model) -> Plan:
        """The same plan for a copy of the model, whose nodes have the same names."""
        nodes = {node.name: node for node in copy.graph}
        moved = [replace(unit, nodes=tuple(nodes[node.name] for node in unit.nodes)) for unit in self.units]
        return replace(self, units=tuple(moved))


def make_plan(found: Sequence[Unit], int8: Iterable[str]) -> Plan:
    """What follows from the labels ``int8`` (names of units)."""
    labels = frozenset(int8)
    chosen = [unit for unit in found if unit.name in labels]
    wanted: dict[ir.Value, None] = {}
    constants: dict[str, None] = {}
    for unit in chosen:
        for value in unit.inputs:
            if constant(value) is not None:
                constants[str(value.name)] = None
            else:
                wanted[value] = None
    float_output: set[str] = set()
    for unit in chosen:
        if _may_stay_float(unit) and not any(value in wanted for value in unit.outputs):
            float_output.add(unit.name)
        else:
            wanted.update(dict.fromkeys(unit.outputs))
    return Plan(tuple(found), labels, _grouped(wanted, chosen), tuple(constants), frozenset(float_output))


def _may_stay_float(unit: Unit) -> bool:
    """A linear layer has a kernel with a float output; a Conv or an elementwise op needs its output quantised."""
    alone = len(unit.nodes) == 1 + (unit.nodes[-1].op_type == "Add")
    return unit.row is not None and unit.row.float_output and alone


def _grouped(wanted: Iterable[ir.Value], chosen: Iterable[Unit]) -> dict[str, str]:
    """Tensors that same-scale ops connect share a group, named after the first of them."""
    parent: dict[str, str] = {str(value.name): str(value.name) for value in wanted}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    order = {name: index for index, name in enumerate(parent)}
    for unit in chosen:
        if unit.same:
            first = root(str(unit.inputs[0].name))
            for value in unit.outputs:
                second = root(str(value.name))
                first, second = sorted((first, second), key=order.__getitem__)
                parent[second] = first
    return {name: root(name) for name in parent}
