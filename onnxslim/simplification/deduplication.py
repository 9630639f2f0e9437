"""Computing the same thing once: equal nodes, equal shape arithmetic, equal initializers.

onnx-ir's passes for these stop at nested graphs, count an omitted output ("") as a result, and hash every weight in
full; a model of gigabytes is read here once in samples, and in full only where two samples agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.traversal import iter_bodies, walk_graphs
from onnxslim.simplification.constant_folding import is_pure
from onnxslim.simplification.editor import BoundedEditor, stored_bytes
from onnxslim.simplification.rule import name_rewrite
from onnxslim.simplification.symbolic_shapes.inference import KnownIntegers

#: Bytes of a weight's head, middle and tail that are compared before the whole is.
SAMPLE_BYTES = 4096

#: What merging nodes is called where rewrites are counted, and left out by name.
COMPUTED_ONCE = "computed once"


def merge_nodes(model: ir.Model, editor: BoundedEditor, known: KnownIntegers, report: StepReport) -> int:
    """Replace, in place, a node by an earlier one that computes the same; returns how many went.

    A nested graph may use what an outer one computes, never the reverse.
    """
    merged = _merge_graph(model.graph, editor, known, [{}])
    report.count(COMPUTED_ONCE, merged)
    return merged


def _merge_graph(graph: ir.Graph, editor: BoundedEditor, known: KnownIntegers, scopes: list[dict[Hashable, ir.Node]]) -> int:
    merged = 0
    for node in list(graph):
        if node.graph is None:
            continue  # nobody reads it since a later reader was merged
        for inner in iter_bodies(node):
            merged += _merge_graph(inner, editor, known, [*scopes, {}])
        rewrite = name_rewrite(COMPUTED_ONCE, node)
        for key in _iter_keys(node, known) if not editor.left_out.includes(rewrite) else ():
            earlier = next((scope[key] for scope in scopes if key in scope), None)
            if earlier is None or earlier.graph is None:
                scopes[-1][key] = node
                continue
            pairs = zip(node.outputs, earlier.outputs, strict=True)
            replacements = {old: new for old, new in pairs if old.uses() or old.is_graph_output()}
            if all(new.name for new in replacements.values()) and not isinstance(editor.replace(node, replacements), str):
                merged += 1
                editor.rewrites.append(rewrite)
                break
    return merged


def _iter_keys(node: ir.Node, known: KnownIntegers) -> Iterator[Hashable]:
    """What two nodes must have in common to compute the same; none for a node that must stay."""
    if not is_pure(node):
        return
    attributes = []
    for name in sorted(node.attributes):
        attribute = node.attributes[name]
        value = attribute.value
        if attribute.type is ir.AttributeType.TENSOR:
            if value.size > SAMPLE_BYTES:
                return
            value = (value.dtype, tuple(value.shape), value.tobytes())
        elif isinstance(value, (list, tuple)):
            value = tuple(value)
        if not isinstance(value, Hashable):
            return
        attributes.append((name, attribute.type, value))
    inputs = tuple(None if value is None else id(value) for value in node.inputs)
    yield (node.op_type, inputs, len(node.outputs), *attributes)
    if len(node.outputs) == 1 and node.outputs[0] in known:
        array = known[node.outputs[0]]
        yield ("integers", node.outputs[0].dtype, array.shape, tuple(map(str, array.flat)))


def merge_initializers(model: ir.Model, editor: BoundedEditor, report: StepReport) -> int:
    """Let one initializer stand for all of the same type, dimensions and bytes, in place; returns how many went."""
    merged = 0
    groups: dict[Hashable, list[ir.Value]] = {}
    for graph in walk_graphs(model.graph):
        for value in list(graph.initializers.values()):
            stored = value.const_value
            if stored is None or stored.dtype is ir.DataType.STRING or isinstance(stored, ir.LazyTensor):
                continue  # one that is computed when it is read would be computed here
            if value.is_graph_input() or value.is_graph_output():
                continue
            scope = None if graph is model.graph else id(graph)
            groups.setdefault((scope, stored.dtype, tuple(stored.shape), stored.nbytes), []).append(value)
    for group in groups.values():
        if len(group) > 1:
            duplicates = _merge_equal(group)
            editor.spend_allowance(-duplicates * stored_bytes(group[0]))
            merged += duplicates
    report.count("stored once", merged)
    return merged


def _merge_equal(group: list[ir.Value]) -> int:
    kept_by_digest: dict[bytes, list[ir.Value]] = {}
    merged = 0
    for value in group:
        alike = kept_by_digest.setdefault(_digest_sample(value), [])
        twin = next((other for other in alike if np.array_equal(_view_bytes(other), _view_bytes(value))), None)
        if twin is None:
            alike.append(value)
            continue
        value.replace_all_uses_with(twin)
        assert value.graph is not None
        del value.graph.initializers[str(value.name)]
        merged += 1
    return merged


def _view_bytes(value: ir.Value) -> np.ndarray:
    stored = get_const_tensor(value)
    assert stored is not None
    if stored.dtype.bitwidth < 8:
        return np.frombuffer(stored.tobytes(), np.uint8)
    return np.ascontiguousarray(stored.numpy()).reshape(-1).view(np.uint8)  # maps an external file, page by page


def _digest_sample(value: ir.Value) -> bytes:
    data = _view_bytes(value)
    if data.size <= 3 * SAMPLE_BYTES:
        return data.tobytes()
    middle = data.size // 2
    parts = (data[:SAMPLE_BYTES], data[middle : middle + SAMPLE_BYTES], data[-SAMPLE_BYTES:])
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()
