"""Computing the same thing once: equal nodes, equal shape arithmetic, equal initializers.

onnx-ir's passes for these stop at nested graphs, count an omitted output ("") as a result, and hash every weight in
full; a model of gigabytes is read here once in samples, and in full only where two samples agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.graph.constants import tensor
from onnxslim.simplify.arithmetic import Known
from onnxslim.simplify.edit import Editor, weight
from onnxslim.simplify.fold import is_pure
from onnxslim.simplify.nested import bodies, graphs

#: Bytes of a weight's head, middle and tail that are compared before the whole is.
SAMPLE = 4096


def merge_nodes(model: ir.Model, editor: Editor, known: Known, account: Account) -> int:
    """Replace, in place, a node by an earlier one that computes the same; returns how many went.

    A nested graph may use what an outer one computes, never the reverse.
    """
    merged = _merge(model.graph, editor, known, [{}])
    account.count("computed once", merged)
    return merged


def _merge(graph: ir.Graph, editor: Editor, known: Known, scopes: list[dict[Hashable, ir.Node]]) -> int:
    merged = 0
    for node in list(graph):
        if node.graph is None:
            continue  # nobody reads it since a later reader was merged
        for inner in bodies(node):
            merged += _merge(inner, editor, known, [*scopes, {}])
        for key in _keys(node, known):
            earlier = next((scope[key] for scope in scopes if key in scope), None)
            if earlier is None or earlier.graph is None:
                scopes[-1][key] = node
                continue
            pairs = zip(node.outputs, earlier.outputs, strict=True)
            found = {old: new for old, new in pairs if old.uses() or old.is_graph_output()}
            if all(new.name for new in found.values()) and not isinstance(editor.replace(node, found), str):
                merged += 1
                break
    return merged


def _keys(node: ir.Node, known: Known) -> Iterator[Hashable]:
    """What two nodes must have in common to compute the same; none for a node that must stay."""
    if not is_pure(node):
        return
    attributes = []
    for name in sorted(node.attributes):
        attribute = node.attributes[name]
        value = attribute.value
        if attribute.type is ir.AttributeType.TENSOR:
            if value.size > SAMPLE:
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


def merge_initializers(model: ir.Model, editor: Editor, account: Account) -> int:
    """Let one initializer stand for all of the same type, dimensions and bytes, in place; returns how many went."""
    merged = 0
    groups: dict[Hashable, list[ir.Value]] = {}
    for graph in graphs(model.graph):
        for value in list(graph.initializers.values()):
            found = value.const_value
            if found is None or found.dtype is ir.DataType.STRING or isinstance(found, ir.LazyTensor):
                continue  # one that is computed when it is read would be computed here
            if value.is_graph_input() or value.is_graph_output():
                continue
            scope = None if graph is model.graph else id(graph)
            groups.setdefault((scope, found.dtype, tuple(found.shape), found.nbytes), []).append(value)
    for group in groups.values():
        if len(group) > 1:
            twins = _merge_equal(group)
            editor.pay(-twins * weight(group[0]))
            merged += twins
    account.count("stored once", merged)
    return merged


def _merge_equal(group: list[ir.Value]) -> int:
    kept: dict[bytes, list[ir.Value]] = {}
    merged = 0
    for value in group:
        alike = kept.setdefault(_sample(value), [])
        twin = next((other for other in alike if _same(other, value)), None)
        if twin is None:
            alike.append(value)
            continue
        value.replace_all_uses_with(twin)
        assert value.graph is not None
        del value.graph.initializers[str(value.name)]
        merged += 1
    return merged


def _bytes(value: ir.Value) -> np.ndarray:
    found = tensor(value)
    assert found is not None
    if found.dtype.bitwidth < 8:
        return np.frombuffer(found.tobytes(), np.uint8)
    return np.ascontiguousarray(found.numpy()).reshape(-1).view(np.uint8)  # maps an external file, page by page


def _sample(value: ir.Value) -> bytes:
    data = _bytes(value)
    if data.size <= 3 * SAMPLE:
        return data.tobytes()
    middle = data.size // 2
    parts = (data[:SAMPLE], data[middle : middle + SAMPLE], data[-SAMPLE:])
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).digest()


def _same(one: ir.Value, other: ir.Value) -> bool:
    return bool(np.array_equal(_bytes(one), _bytes(other)))
