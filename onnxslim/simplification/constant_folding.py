"""Constant folding: whatever only depends on constants is computed once, by the runtime that would compute it anyway.

What may be folded is decided before anything is evaluated, from inferred shapes alone: a Tile, a Range or a
ConstantOfShape of a few bytes can stand for terabytes. A node qualifies when its op is a pure function of the default
domain, all it reads is constant, and the size of all it writes is known and small. Connected nodes are then judged
together: the bytes they would leave in the file, less the bytes nobody would read any more, must be within the
allowance. All that qualify are evaluated in one session (:mod:`onnxslim.simplification.constant_evaluation`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.traversal import iter_subgraphs, walk
from onnxslim.simplification.constant_evaluation import Region, evaluate_regions
from onnxslim.simplification.editor import BoundedEditor, stored_bytes
from onnxslim.simplification.file_size import OVERHEAD_BYTES, node_bytes

logger = logging.getLogger(__name__)

#: Never folded. Random ops differ from run to run; a DequantizeLinear on a weight is what keeps the weight small and
#: tells the runtime that the layer is quantised; string ops and sequences are not tensors of bytes.
NON_FOLDABLE_OPS = frozenset({"Bernoulli", "Constant", "DequantizeLinear", "Dropout", "Multinomial"})
NON_FOLDABLE_PREFIXES = ("Random", "Optional", "Sequence", "ConcatFromSequence", "SplitToSequence")

#: No node computes more than this many bytes, even on the way to something small, unless it reads or may add as many.
MAX_NODE_BYTES = 64 << 20


def fold_constants(model: ir.Model, editor: BoundedEditor, report: StepReport) -> int:
    """Fold what can be folded now, in place; returns how many nodes went. Shapes must have been inferred.

    What is left because of its size is skipped in ``report``; what is left because its size is not known yet is
    not: once what feeds it is folded, another round may know.
    """
    candidates = _find_candidates(model, max(MAX_NODE_BYTES, editor.allowance), report)
    regions = [
        affordable for region in _group_regions(candidates) for affordable in _select_affordable(region, editor, report)
    ]
    if not regions:
        return 0
    folded = 0
    for region, results in evaluate_regions(model, regions, report):
        for value, result in zip(region.kept, results, strict=True):
            editor.replace_by_constant(value, result)
        folded += sum(node.graph is None or node.op_type == "Constant" for node in region.nodes)
    report.count("folded", folded)
    return folded


def _find_candidates(model: ir.Model, max_bytes: float, report: StepReport) -> dict[ir.Node, int]:
    """The nodes that could be folded, in topological order, with the bytes of all they write."""
    candidates: dict[ir.Node, int] = {}
    for node in walk(model.graph):
        if not is_pure(node) or not all(
            value is None or value.producer() in candidates or get_const_tensor(value) is not None for value in node.inputs
        ):
            continue
        sizes = [shapes.get_nbytes(output) for output in node.outputs if output.name]
        total = sum(size for size in sizes if size is not None)
        if None in sizes:
            continue
        read = sum(shapes.get_nbytes(value) or 0 for value in node.inputs if value is not None)
        if total > max(max_bytes, read):
            report.skip(node.name or str(node.outputs[0].name), f"folding would compute {total} bytes")
            continue
        candidates[node] = total
    return candidates


def is_pure(node: ir.Node) -> bool:
    """Whether ``node`` is a function of its inputs alone that may be computed ahead, or once for two readers."""
    if node.domain or node.op_type in NON_FOLDABLE_OPS or node.op_type.startswith(NON_FOLDABLE_PREFIXES) or not node.inputs:
        return False
    return not (any(iter_subgraphs(node)) or any(attribute.is_ref() for attribute in node.attributes.values()))


def _group_regions(candidates: dict[ir.Node, int]) -> list[Region]:
    """``candidates`` parted into the sets that share a value or a constant."""
    leader: dict[ir.Node, ir.Node] = {node: node for node in candidates}

    def find(node: ir.Node) -> ir.Node:
        while leader[node] is not node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    reader: dict[ir.Value, ir.Node] = {}
    for node in candidates:
        for value in node.inputs:
            if value is None:
                continue
            producer = value.producer()
            other = producer if producer is not None and producer in candidates else reader.setdefault(value, node)
            leader[find(other)] = find(node)
    regions: dict[ir.Node, Region] = {}
    for node in candidates:
        regions.setdefault(find(node), Region()).nodes.append(node)
    return [_measure_region(region.nodes) for region in regions.values()]


def _measure_region(nodes: list[ir.Node]) -> Region:
    inside = set(nodes)
    outputs = (output for node in nodes for output in node.outputs)
    kept = [value for value in outputs if value.is_graph_output() or any(use.node not in inside for use in value.uses())]
    read = dict.fromkeys(value for node in nodes for value in node.inputs if value is not None)
    freed = sum(stored_bytes(value) for value in read if all(use.node in inside for use in value.uses()))
    added = sum((shapes.get_nbytes(value) or 0) + OVERHEAD_BYTES + len(value.name or "") for value in kept)
    return Region(nodes, kept, added - freed - sum(map(node_bytes, nodes)))


def _select_affordable(region: Region, editor: BoundedEditor, report: StepReport) -> Iterable[Region]:
    """``region`` whole if it can be paid, else its largest prefix that can, node by node."""
    refusal = editor.spend_allowance(region.growth)
    if refusal is None:
        return [region]
    taken: list[ir.Node] = []
    skipped: set[ir.Node] = set()
    growth = 0
    for node in region.nodes:
        if any(value is not None and value.producer() in skipped for value in node.inputs):
            skipped.add(node)
            continue
        new_growth = _measure_region([*taken, node]).growth
        if new_growth - growth > max(editor.allowance - growth, 0):
            skipped.add(node)
            report.skip(node.name or str(node.outputs[0].name), f"folding it: {refusal}")
            continue
        taken.append(node)
        growth = new_growth
    if not taken:
        return []
    editor.allowance -= growth
    return [_measure_region(taken)]
