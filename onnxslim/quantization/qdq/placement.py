"""Where int8 pays: a minimum cut.

Every unit costs some time in int8 and some in float, and every tensor between an int8 and a float unit costs a
QuantizeLinear or a DequantizeLinear (and, for feature maps, a change of layout). Choosing the labels with the least
total is a minimum s-t cut (Greig, Porteous and Seheult, 1989), which is exact and takes milliseconds. The times are a
static model of the target, or measured ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from onnxslim.graph import cost, shapes
from onnxslim.graph.constant_propagation import propagate_constants
from onnxslim.graph.constants import get_const_array, get_const_tensor
from onnxslim.quantization.qdq.fusion_groups import FusionGroup
from onnxslim.quantization.targets.base import CostModel


@dataclass(frozen=True)
class UnitTimes:
    """Nanoseconds of each unit by name, in float and in int8, the elements and the ranks of each tensor by name, and the
    target's costs of what stands between units.
    """

    floats: Mapping[str, float]
    int8: Mapping[str, float]
    elements: Mapping[str, float]
    ranks: Mapping[str, int]
    cost_model: CostModel


def estimate_unit_times(
    model: ir.Model, units: Sequence[FusionGroup], cost_model: CostModel, dims: Mapping[str, int] | None = None
) -> UnitTimes:
    """The times that the target's ``cost_model`` gives, from shapes alone: deterministic, the same on every machine."""
    bound_model = model.clone()
    shapes.bind(bound_model, dims)
    propagate_constants(bound_model)
    static_shapes: dict[str, tuple[int, ...]] = {}
    for value in (*bound_model.graph.inputs, *(output for node in bound_model.graph for output in node.outputs)):
        size = shapes.get_static_dims(value)
        if value.name and size is not None:
            static_shapes[value.name] = size
    elements = {name: float(math.prod(size)) for name, size in static_shapes.items()}
    node_costs = cost.compute_cost(model, dims).nodes
    floats: dict[str, float] = {}
    int8: dict[str, float] = {}
    for unit in units:
        unit_macs = node_costs[unit.name].macs if unit.name in node_costs else 0
        output_elements = sum(elements.get(str(value.name), 0.0) for value in unit.outputs)
        amount, prices, layout = output_elements, cost_model.get_element(unit.op), 0.0
        if cost_model.float_silu is not None and _is_in_silu(unit.anchor):
            prices = cost_model.float_silu / 2, prices[1]
        if unit.has_weights:
            amount, prices = unit_macs, _get_mac_ns(unit, cost_model)
            layout = _count_linear_weights(unit) * cost_model.int8_linear_weight
        floats[unit.name], int8[unit.name] = amount * prices[0], amount * prices[1] + layout
    return UnitTimes(floats, int8, elements, {name: len(size) for name, size in static_shapes.items()}, cost_model)


def _is_in_silu(node: ir.Node) -> bool:
    """Whether ``node`` is one of the two of x * Sigmoid(x), the Sigmoid read by nothing else."""
    if node.op_type == "Sigmoid":
        return any(use.node.op_type == "Mul" and _is_in_silu(use.node) for use in node.outputs[0].uses())
    if node.op_type != "Mul" or node.domain or len(node.inputs) != 2:
        return False
    pairs = zip(node.inputs, reversed(node.inputs), strict=True)
    gates = [(value.producer(), other) for value, other in pairs if value is not None and not value.is_graph_output()]
    return any(
        gate is not None and gate.op_type == "Sigmoid" and gate.inputs[0] is other and len(gate.outputs[0].uses()) == 1
        for gate, other in gates
    )


def _count_linear_weights(unit: FusionGroup) -> int:
    weight = None if unit.op == "Conv" else get_const_tensor(unit.anchor.inputs[1])
    return 0 if weight is None else weight.size


def _get_mac_ns(unit: FusionGroup, cost_model: CostModel) -> tuple[float, float]:
    weight = get_const_array(unit.anchor.inputs[1])
    if weight is None or unit.op != "Conv":
        return cost_model.dense_mac
    return cost_model.get_conv_mac(weight.shape[0], weight.shape[1], unit.anchor.attributes.get_int("group", 1))


def place(
    units: Sequence[FusionGroup], times: UnitTimes, penalties: Mapping[str, float] = MappingProxyType({})
) -> frozenset[str]:
    """The names of the units that should run in int8: the labelling with the least total time.

    Args:
        units: Of one model, in order.
        times: What each takes.
        penalties: Nanoseconds by unit that being int8 costs on top; the larger they are all, the fewer units are int8, and
            each of those was int8 before.
    """
    network = _Network()
    nodes = {unit: network.add_node() for unit in units}
    # being int8 saves a unit and its neighbours the time of everything at most: more would only cost the cut its resolution
    max_penalty = 2 * sum(times.floats.values()) + sum(times.int8.values())
    for unit, node in nodes.items():
        penalty = min(penalties.get(unit.name, 0.0), max_penalty)
        network.add_edge(network.source, node, times.floats.get(unit.name, 0.0))
        network.add_edge(node, network.sink, math.inf if unit.why_float else times.int8.get(unit.name, 0.0) + penalty)
    producers = {value: unit for unit in units for value in unit.outputs}
    readers: dict[ir.Value, list[FusionGroup]] = {}
    for unit in units:
        for member in unit.nodes:
            for value in dict.fromkeys(member.inputs):
                if value is not None and get_const_tensor(value) is None and producers.get(value) is not unit:
                    readers.setdefault(value, []).append(unit)
    for value, consumers in readers.items():
        conversion_time = estimate_conversion_time(value, times)
        producer = nodes[producers[value]] if value in producers else network.sink
        conversion = network.add_node()
        network.add_edge(conversion, producer, conversion_time)
        for consumer in consumers:
            if value in consumer.inputs:
                network.add_edge(nodes[consumer], conversion, math.inf)
            if producer != network.sink:
                network.add_edge(producer, nodes[consumer], conversion_time)
    for value, unit in producers.items():
        if value.is_graph_output():
            network.add_edge(nodes[unit], network.sink, estimate_conversion_time(value, times))
    source_side = network.find_min_cut()
    return frozenset(unit.name for unit, node in nodes.items() if node in source_side and unit.why_float is None)


def estimate_total_time(all_units: Sequence[FusionGroup], int8: frozenset[str], times: UnitTimes) -> float:
    """Nanoseconds of the model with the units ``int8`` in int8, conversions at the borders included."""
    total = sum(times.int8[unit.name] if unit.name in int8 else times.floats[unit.name] for unit in all_units)
    producers = {value: unit for unit in all_units for value in unit.outputs}
    converted = {value for value, unit in producers.items() if value.is_graph_output() and unit.name in int8}
    for unit in all_units:
        internal = {value for member in unit.nodes for value in member.outputs}
        for value in (value for member in unit.nodes for value in member.inputs if value is not None):
            producer = producers.get(value)
            made_in_int8 = producer is not None and producer.name in int8
            if get_const_tensor(value) is None and value not in internal and made_in_int8 != (unit.name in int8):
                converted.add(value)
    return total + sum(estimate_conversion_time(value, times) for value in converted)


def find_int8_capable(units: Sequence[FusionGroup]) -> frozenset[str]:
    """Every unit that can run in int8 and that other such units connect to a weighted one."""
    capable = [unit for unit in units if unit.why_float is None]
    units_by_value: dict[ir.Value, list[FusionGroup]] = {}
    for unit in capable:
        for value in (*unit.inputs, *unit.outputs):
            units_by_value.setdefault(value, []).append(unit)
    reached = dict.fromkeys(unit for unit in capable if unit.has_weights)
    pending = list(reached)
    while pending:
        unit = pending.pop()
        for value in (*unit.inputs, *unit.outputs):
            for other in units_by_value[value]:
                if other not in reached:
                    reached[other] = None
                    pending.append(other)
    return frozenset(unit.name for unit in reached)


def estimate_conversion_time(value: ir.Value, times: UnitTimes) -> float:
    """Nanoseconds of one conversion of ``value`` between int8 and float."""
    name = str(value.name)
    rank = times.ranks.get(name, 0)
    element = times.cost_model.convert + (times.cost_model.relayout if rank >= 4 else 0.0)
    return times.cost_model.node_overhead + times.elements.get(name, 0.0) * element


class _Network:
    """A flow network whose capacities are times; the source's side of its minimum cut is int8."""

    def __init__(self) -> None:
        self.source, self.sink, self._size = 0, 1, 2
        self._edges: list[tuple[int, int, float]] = []

    def add_node(self) -> int:
        self._size += 1
        return self._size - 1

    def add_edge(self, tail: int, head: int, capacity: float) -> None:
        if tail != head:
            self._edges.append((tail, head, capacity))

    def find_min_cut(self) -> set[int]:
        finite = sum(capacity for _, _, capacity in self._edges if math.isfinite(capacity))
        # maximum_flow counts in 32-bit integers; an infinite edge is one that no cut can afford
        resolution = max(finite, 1.0) / 2**28
        integer_capacities = [
            min(round(capacity / resolution), 2**29) if math.isfinite(capacity) else 2**29 for *_, capacity in self._edges
        ]
        tails, heads = [edge[0] for edge in self._edges], [edge[1] for edge in self._edges]
        capacities = csr_array((np.asarray(integer_capacities, np.int64), (tails, heads)), shape=(self._size, self._size))
        capacities.sum_duplicates()
        capacities.data = np.minimum(capacities.data, 2**29)
        capacities = capacities.astype(np.int32)
        flow = maximum_flow(capacities, self.source, self.sink).flow
        residual = csr_array(capacities - flow)
        residual.eliminate_zeros()
        return {int(node) for node in breadth_first_order(residual, self.source, return_predecessors=False)}
