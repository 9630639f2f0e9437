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

import numpy as np
import onnx_ir as ir
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from onnxslim.graph import cost, shapes
from onnxslim.graph.constants import constant
from onnxslim.graph.propagate import propagate
from onnxslim.quantize.plan import Unit

#: Nanoseconds a multiply-accumulate takes, as (float, int8): dense, dense whose channels miss the kernel's width,
#: depthwise, depthwise that misses it, grouped. Ratios measured on x86 with VNNI; the absolute scale only has to fit
#: the costs per element below.
DENSE, NARROW, DEPTHWISE, DEPTHWISE_NARROW, GROUPED = (
    (0.020, 0.006),
    (0.035, 0.060),
    (0.080, 0.100),
    (0.080, 0.320),
    (0.025, 0.025),
)
ELEMENT = (0.25, 0.10)  #: nanoseconds an element of an elementwise or data-moving op, float and int8
CONVERT = 0.3  #: nanoseconds an element of a QuantizeLinear or DequantizeLinear
RELAYOUT = 0.3  #: the same for a feature map that changes between NCHW and NHWC on the way
OVERHEAD = 1500.0  #: nanoseconds of one more node


@dataclass(frozen=True)
class Times:
    """Nanoseconds of each unit by name, in float and in int8, and the elements of each tensor by name."""

    floats: Mapping[str, float]
    int8: Mapping[str, float]
    elements: Mapping[str, float]
    ranks: Mapping[str, int]


def static_times(model: ir.Model, units: Sequence[Unit], dims: Mapping[str, int] | None = None) -> Times:
    """The target's static cost model, from shapes alone: deterministic, the same on every machine."""
    bound = model.clone()
    shapes.bind(bound, dims)
    propagate(bound)
    known: dict[str, tuple[int, ...]] = {}
    for value in (*bound.graph.inputs, *(output for node in bound.graph for output in node.outputs)):
        size = shapes.static(value)
        if value.name and size is not None:
            known[value.name] = size
    elements = {name: float(math.prod(size)) for name, size in known.items()}
    macs = cost.cost(model, dims).nodes
    floats: dict[str, float] = {}
    int8: dict[str, float] = {}
    for unit in units:
        work = macs[unit.name].macs if unit.name in macs else 0
        rate = _rate(unit)
        moved = sum(elements.get(str(value.name), 0.0) for value in unit.outputs)
        if unit.weighted:
            floats[unit.name], int8[unit.name] = work * rate[0], work * rate[1]
        else:
            floats[unit.name], int8[unit.name] = moved * ELEMENT[0], moved * ELEMENT[1]
    return Times(floats, int8, elements, {name: len(size) for name, size in known.items()})


def _rate(unit: Unit) -> tuple[float, float]:
    weight = constant(unit.anchor.inputs[1]) if unit.weighted else None
    if weight is None or unit.op != "Conv":
        return DENSE
    group = unit.anchor.attributes.get_int("group", 1)
    outputs, inputs = weight.shape[0], weight.shape[1]
    if group == 1:
        return DENSE if inputs % 4 == 0 else NARROW
    if inputs == 1 and outputs == group:
        return DEPTHWISE if outputs % 16 == 0 else DEPTHWISE_NARROW
    return GROUPED


def place(units: Sequence[Unit], times: Times) -> frozenset[str]:
    """The names of the units that should run in int8: the labelling with the least total time."""
    network = _Network()
    nodes = {unit: network.node() for unit in units}
    for unit, node in nodes.items():
        network.edge(network.source, node, times.floats.get(unit.name, 0.0))
        network.edge(node, network.sink, math.inf if unit.why_float else times.int8.get(unit.name, 0.0))
    producers = {value: unit for unit in units for value in unit.outputs}
    readers: dict[ir.Value, list[Unit]] = {}
    for unit in units:
        for member in unit.nodes:
            for value in dict.fromkeys(member.inputs):
                if value is not None and constant(value) is None and producers.get(value) is not unit:
                    readers.setdefault(value, []).append(unit)
    for value, consumers in readers.items():
        price = boundary(value, times)
        producer = nodes[producers[value]] if value in producers else network.sink
        entry = network.node()
        network.edge(entry, producer, price)
        for consumer in consumers:
            if value in consumer.inputs:
                network.edge(nodes[consumer], entry, math.inf)
            if producer != network.sink:
                network.edge(producer, nodes[consumer], price)
    for value, unit in producers.items():
        if value.is_graph_output():
            network.edge(nodes[unit], network.sink, boundary(value, times))
    kept = network.cut()
    return frozenset(unit.name for unit, node in nodes.items() if node in kept and unit.why_float is None)


def everything(units: Sequence[Unit]) -> frozenset[str]:
    """Every unit that can run in int8 and that other such units connect to a weighted one."""
    able = [unit for unit in units if unit.why_float is None]
    touching: dict[ir.Value, list[Unit]] = {}
    for unit in able:
        for value in (*unit.inputs, *unit.outputs):
            touching.setdefault(value, []).append(unit)
    reached = dict.fromkeys(unit for unit in able if unit.weighted)
    waiting = list(reached)
    while waiting:
        unit = waiting.pop()
        for value in (*unit.inputs, *unit.outputs):
            for other in touching[value]:
                if other not in reached:
                    reached[other] = None
                    waiting.append(other)
    return frozenset(unit.name for unit in reached)


def boundary(value: ir.Value, times: Times) -> float:
    """Nanoseconds of one conversion of ``value`` between int8 and float."""
    name = str(value.name)
    rank = times.ranks.get(name, 0)
    return OVERHEAD + times.elements.get(name, 0.0) * (CONVERT + (RELAYOUT if rank >= 4 else 0.0))


class _Network:
    """A flow network whose capacities are times; the source's side of its minimum cut is int8."""

    def __init__(self) -> None:
        self.source, self.sink, self._size = 0, 1, 2
        self._edges: list[tuple[int, int, float]] = []

    def node(self) -> int:
        self._size += 1
        return self._size - 1

    def edge(self, tail: int, head: int, capacity: float) -> None:
        if tail != head:
            self._edges.append((tail, head, capacity))

    def cut(self) -> set[int]:
        finite = sum(capacity for _, _, capacity in self._edges if math.isfinite(capacity))
        # maximum_flow counts in 32-bit integers; an infinite edge is one that no cut can afford
        unit = max(finite, 1.0) / 2**28
        whole = [
            min(round(capacity / unit), 2**29) if math.isfinite(capacity) else 2**29 for *_, capacity in self._edges
        ]
        tails, heads = [edge[0] for edge in self._edges], [edge[1] for edge in self._edges]
        capacities = csr_array((np.asarray(whole, np.int64), (tails, heads)), shape=(self._size, self._size))
        capacities.sum_duplicates()
        capacities.data = np.minimum(capacities.data, 2**29)
        capacities = capacities.astype(np.int32)
        flow = maximum_flow(capacities, self.source, self.sink).flow
        residual = csr_array(capacities - flow)
        residual.eliminate_zeros()
        return {int(node) for node in breadth_first_order(residual, self.source, return_predecessors=False)}
