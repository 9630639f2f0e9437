"""The minimum cut against trying every labelling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxslim.graph import shapes
from onnxslim.graph.traversal import name_nodes
from onnxslim.quantization.qdq import placement
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, find_fusion_groups
from onnxslim.quantization.qdq.placement import UnitTimes
from onnxslim.quantization.targets.onnxruntime_cpu import CPU
from onnxslim.quantization.targets.onnxruntime_cpu import X86_VNNI_COSTS as COSTS


def network(wiring: list[tuple[str, int, int]]) -> ir.Model:
    """A chain of Add, Sigmoid and Tanh nodes, each reading one or two earlier tensors."""
    x = ir.val("x", ir.DataType.FLOAT, (1, 4, 4, 4))
    values, nodes = [x], []
    for op, first, second in wiring:
        inputs = [values[first % len(values)]]
        if op == "Add":
            inputs.append(values[second % len(values)])
        node = ir.node(op, inputs)
        node.outputs[0].name = f"v{len(values)}"
        nodes.append(node)
        values.append(node.outputs[0])
    graph = ir.Graph([x], [values[-1]], nodes=nodes, opset_imports={"": 17}, name="g")
    model = ir.Model(graph, ir_version=8)
    shapes.infer(model)
    name_nodes(model.graph.all_nodes())
    return model


def total(found: list[FusionGroup], int8: frozenset[str], times: UnitTimes) -> float:
    """The price of a labelling, counted straight from the definition."""
    price = sum(times.int8[u.name] if u.name in int8 else times.floats[u.name] for u in found)
    made = {value: unit for unit in found for value in unit.outputs}
    values = dict.fromkeys(value for unit in found for value in (*unit.inputs, *unit.outputs))
    for value in values:
        edge = COSTS.node_overhead + times.elements[str(value.name)] * (COSTS.convert + COSTS.relayout)
        readers = [unit for unit in found if value in unit.inputs]
        producer = made.get(value)
        if producer is not None and producer.name in int8:
            price += edge * sum(reader.name not in int8 for reader in readers)
            price += edge * value.is_graph_output()
        elif any(reader.name in int8 for reader in readers):
            price += edge
    return price


ops = st.tuples(st.sampled_from(["Add", "Sigmoid", "Tanh"]), st.integers(0, 9), st.integers(0, 9))


@settings(max_examples=60, deadline=None)
@given(st.lists(ops, min_size=1, max_size=7), st.integers(0, 2**31))
def test_no_labelling_is_cheaper_than_the_cut(wiring: list[tuple[str, int, int]], seed: int) -> None:
    model = network(wiring)
    found = find_fusion_groups(model, CPU)
    rng = np.random.default_rng(seed)
    names = [unit.name for unit in found]
    times = UnitTimes(
        dict(zip(names, rng.uniform(0, 6000, len(names)), strict=True)),
        dict(zip(names, rng.uniform(0, 6000, len(names)), strict=True)),
        {str(v.name): 64.0 for unit in found for v in (*unit.inputs, *unit.outputs)},
        {str(v.name): 4 for unit in found for v in (*unit.inputs, *unit.outputs)},
        COSTS,
    )
    able = [unit.name for unit in found if unit.why_float is None]
    chosen = placement.place(found, times)
    assert chosen <= set(able)
    best = min(
        total(found, frozenset(labels), times)
        for count in range(len(able) + 1)
        for labels in itertools.combinations(able, count)
    )
    assert math.isclose(total(found, chosen, times), best, rel_tol=1e-5, abs_tol=1.0)


def test_a_lone_elementwise_op_between_floats_stays_float() -> None:
    model = network([("Tanh", 0, 0), ("Sigmoid", 1, 0), ("Tanh", 2, 0)])
    found = find_fusion_groups(model, CPU)
    assert placement.place(found, placement.estimate_unit_times(model, found, COSTS)) == frozenset()


@pytest.mark.parametrize("reads_gate_too", [False, True])
def test_a_silu_in_float_costs_one_kernel_and_in_int8_two(reads_gate_too: bool) -> None:
    x = ir.val("x", ir.DataType.FLOAT, (1, 4, 4, 4))
    gate = ir.node("Sigmoid", [x], name="gate")
    silu = ir.node("Mul", [gate.outputs[0], x], name="silu")
    other = ir.node("Mul", [silu.outputs[0], gate.outputs[0] if reads_gate_too else x], name="other")
    for name, node in (("g", gate), ("s", silu), ("o", other)):
        node.outputs[0].name = name
    graph = ir.Graph([x], [other.outputs[0]], nodes=[gate, silu, other], opset_imports={"": 17}, name="g")
    found = ir.Model(graph, ir_version=8)
    shapes.infer(found)
    times = placement.estimate_unit_times(found, find_fusion_groups(found, CPU), COSTS)
    (sigmoid, sigmoid_int8), (mul, mul_int8) = COSTS.get_element("Sigmoid"), COSTS.get_element("Mul")
    assert COSTS.float_silu is not None
    alone = sigmoid + mul if reads_gate_too else COSTS.float_silu
    assert times.floats["gate"] + times.floats["silu"] == pytest.approx(64 * alone)
    assert times.int8["gate"] + times.int8["silu"] == pytest.approx(64 * (sigmoid_int8 + mul_int8))
    assert times.floats["other"] == pytest.approx(64 * mul)
    assert COSTS.get_element("MaxPool") == COSTS.element
