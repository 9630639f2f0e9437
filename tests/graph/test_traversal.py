"""What is found inside graphs that nodes hold."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from onnxslim.graph.traversal import iter_inner_reads, iter_reads, iter_subgraphs, name_nodes, walk, walk_graphs

NESTED = """
<ir_version: 8, opset_import: ["" : 17]>
agraph (bool c, float[2] x, float[2] y) => (float[2] out) {
    a = Relu(x)
    out = If (c) <
        then_branch = outer () => (float[2] b) {
            d = Add(a, y)
            b = If (c) <then_branch = inner () => (float[2] e) { e = Mul(d, x) },
                        else_branch = same () => (float[2] f) { f = Identity(a) }>
        },
        else_branch = other () => (float[2] g) { g = Neg(y) }
    >
}
"""


def _read_names(values: object) -> list[str]:
    return [str(value.name) for value in values]  # type: ignore[attr-defined]


def _holder() -> tuple[ir.Graph, ir.Node]:
    graph = ir.from_proto(onnx.parser.parse_model(NESTED)).graph
    return graph, graph[1]


def test_a_walk_meets_every_node_after_what_holds_it():
    graph, holder = _holder()
    assert [node.op_type for node in walk(graph)] == ["Relu", "If", "Add", "If", "Mul", "Identity", "Neg"]
    assert [node.op_type for node in walk([holder], iter_subgraphs)] == ["If", "Add", "If", "Mul", "Identity", "Neg"]
    assert [inner.name for inner in walk_graphs(graph)] == ["agraph", "outer", "other", "inner", "same"]


def test_a_node_reads_what_its_graphs_capture():
    graph, holder = _holder()
    outside = {value for value in iter_reads(holder) if value.graph is graph}
    assert {value.name for value in outside} == {"c", "x", "y", "a"}
    captured = [value for value in iter_inner_reads(holder) if value.graph is graph]
    assert _read_names(dict.fromkeys(captured)) == ["a", "y", "c", "x"]
    own = {value.name for value in iter_inner_reads(holder) if value.graph is not graph}
    assert own == {"d", "b", "e", "f", "g"}


def test_a_node_without_graphs_reads_its_inputs():
    graph, _ = _holder()
    assert _read_names(iter_reads(graph[0])) == ["x"]
    assert not list(iter_inner_reads(graph[0]))


def test_unnamed_and_ambiguous_nodes_get_names_of_their_own():
    graph, _ = _holder()
    nodes = list(graph.all_nodes())
    for node, name in zip(nodes, ["If_1", "", "same", "same", "Mul_4", "", ""], strict=True):
        node.name = name
    name_nodes(graph.all_nodes())
    names = [str(node.name) for node in nodes]
    assert names == ["If_1", "If_2", "same", "If_3", "Mul_4", "Identity_5", "Neg_6"]
    name_nodes(graph.all_nodes())
    assert [node.name for node in nodes] == names
