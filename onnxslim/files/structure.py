"""Names: every value defined once, before it is read, in this graph or one around it.

Specification: "Graphs" and "Names Within a Graph" in https://github.com/onnx/onnx/blob/main/docs/IR.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import onnx

from onnxslim.errors import InvalidModelError, UnsupportedError
from onnxslim.files import payload

_Attr = onnx.AttributeProto

#: What a function is called by: domain, name, overload.
_Identity = tuple[str, str, str]

#: Subgraphs within subgraphs: a file has at most 33 (protobuf allows 100 messages), one built in memory may have more.
MAX_NESTING = 50


class _Level(NamedTuple):
    """One graph on the way down: its nodes, the position of the one being read, and the names known so far."""

    nodes: Sequence[onnx.NodeProto]
    at: int
    known: set[str]


def check(model: onnx.ModelProto) -> None:
    """Raise what the versions and names of ``model`` and the data of its tensors show to be wrong."""
    _versions(model)
    calls: dict[_Identity, set[_Identity]] = {}
    for function in model.functions:
        label = f"function '{function.name}'"
        payload.texts(label, function.name, function.domain, function.overload, function.doc_string)
        identity = (function.domain, function.name, function.overload)
        if identity in calls:
            raise InvalidModelError(f"{label} is defined twice")
        for attribute in function.attribute_proto:
            _attribute(attribute, label, [], in_function=True)
        for value in function.value_info:
            payload.value_type(value.type, f"value '{value.name}'")
        known = _distinct(function.input, f"{label} has two inputs")
        _nodes(function.node, [], known, in_function=True)
        _produced(function.output, known, label)
        calls[identity] = {(node.domain, node.op_type, node.overload) for node in _within(function.node)}
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        raise InvalidModelError(f"function '{error.args[1][0][1]}' calls itself") from None
    _graph(model.graph, [], in_function=False)


def describe(node: onnx.NodeProto, at: int) -> str:
    """A node in an error message, by its name or else by its position."""
    return f"node '{node.name}' ({node.op_type})" if node.name else f"node {at} ({node.op_type})"


def _versions(model: onnx.ModelProto) -> None:
    if not model.HasField("graph"):
        raise InvalidModelError("not an ONNX model: it has no graph")
    if model.ir_version < 1:
        raise InvalidModelError("not an ONNX model: it has no IR version")
    if not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise UnsupportedError(
            f"IR version {model.ir_version}: 3 to {onnx.IR_VERSION} are read",
            hint="export it again, or for a newer one: pip install -U onnx",
        )
    payload.texts("the model", model.producer_name, model.producer_version, model.domain, model.doc_string)
    payload.texts("the metadata", *(text for entry in model.metadata_props for text in (entry.key, entry.value)))
    versions: dict[str, int] = {}
    for opset in model.opset_import:
        payload.texts("an opset import", opset.domain)
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        if opset.version < 1 or domain in versions:
            name = domain or "ai.onnx"
            raise InvalidModelError(f"opset import '{name}': {opset.version} is no version, or a second one")
        versions[domain] = opset.version
    newest = onnx.defs.onnx_opset_version()
    if not 7 <= versions.get("", 7) <= newest:
        raise UnsupportedError(
            f"opset {versions['']}: 7 to {newest} are read",
            hint="an older one: onnx.version_converter.convert_version; a newer one: pip install -U onnx",
        )


def _graph(graph: onnx.GraphProto, above: list[_Level], *, in_function: bool) -> None:
    label = f"graph '{graph.name}'"
    if len(above) > MAX_NESTING:
        raise InvalidModelError(f"{label} is more than {MAX_NESTING} subgraphs deep")
    payload.texts(label, graph.name, graph.doc_string)
    if not graph.output:
        raise InvalidModelError(f"{label} has no outputs")
    if graph.sparse_initializer:
        raise UnsupportedError(
            f"initializer '{graph.sparse_initializer[0].values.name}' is sparse", hint="store it dense"
        )
    for value in (*graph.input, *graph.output, *graph.value_info):
        payload.texts(label, value.name, value.doc_string)
        payload.value_type(value.type, f"value '{value.name}'")
    for tensor in graph.initializer:
        payload.tensor(tensor, f"initializer '{tensor.name}'")
    known = _distinct((value.name for value in graph.input), f"{label} has two inputs")
    known |= _distinct((tensor.name for tensor in graph.initializer), f"{label} has two initializers")
    _nodes(graph.node, above, known, in_function=in_function)
    _produced((value.name for value in graph.output), known, label)


def _nodes(nodes: Sequence[onnx.NodeProto], above: list[_Level], known: set[str], *, in_function: bool) -> None:
    """Read ``nodes`` in order, adding what they define to ``known``."""
    scopes = [known, *(level.known for level in reversed(above))]
    for at, node in enumerate(nodes):
        label = describe(node, at)
        payload.texts(label, node.name, node.op_type, node.domain, node.overload, node.doc_string)
        payload.texts(label, *node.input, *node.output)
        for name in node.input:
            if name and not any(name in scope for scope in scopes):
                raise _unresolved(name, label, [*above, _Level(nodes, at, known)])
        if node.attribute:
            path = [*above, _Level(nodes, at, known)]
            for attribute in node.attribute:
                _attribute(attribute, label, path, in_function=in_function)
            _distinct((attribute.name for attribute in node.attribute), f"{label} has two attributes")
        for name in node.output:
            if name in known:
                raise InvalidModelError(f"{label}: its output '{name}' is already defined")
            if name:
                known.add(name)


def _attribute(attribute: onnx.AttributeProto, label: str, path: list[_Level], *, in_function: bool) -> None:
    payload.texts(label, attribute.name, attribute.doc_string, attribute.ref_attr_name)
    if attribute.ref_attr_name and not in_function:
        raise InvalidModelError(f"{label}: '{attribute.name}' refers to an attribute of a function, but is in none")
    if attribute.ref_attr_name:
        return
    label = f"{label}, attribute '{attribute.name}'"
    kind = attribute.type
    if kind in (_Attr.TENSOR, _Attr.TENSORS):
        for tensor in attribute.tensors if kind == _Attr.TENSORS else (attribute.t,):
            payload.tensor(tensor, label)
    elif kind in (_Attr.GRAPH, _Attr.GRAPHS):
        for graph in attribute.graphs if kind == _Attr.GRAPHS else (attribute.g,):
            _graph(graph, path, in_function=in_function)
    elif kind in (_Attr.TYPE_PROTO, _Attr.TYPE_PROTOS):
        for type_ in attribute.type_protos if kind == _Attr.TYPE_PROTOS else (attribute.tp,):
            payload.value_type(type_, label)
    elif kind in (_Attr.SPARSE_TENSOR, _Attr.SPARSE_TENSORS):
        raise UnsupportedError(f"{label} is a sparse tensor", hint="store it dense")
    elif kind == _Attr.STRINGS:
        for text in attribute.strings:
            try:
                text.decode()
            except UnicodeDecodeError:
                raise InvalidModelError(f"{label}: {text[:40]!r} is not UTF-8") from None


def _distinct(names: Iterable[str], message: str) -> set[str]:
    """The set of ``names``; an empty or repeated one is refused with ``message``."""
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            raise InvalidModelError(
                f"{message} named '{name}'" if name else f"{message.replace(' two ', ' unnamed ')}"
            )
        seen.add(name)
    return seen


def _produced(names: Iterable[str], known: set[str], label: str) -> None:
    for name in names:
        if name not in known:
            raise InvalidModelError(f"{label}: nothing in it makes its output '{name}'")


def _unresolved(name: str, label: str, path: list[_Level]) -> InvalidModelError:
    """Why ``name`` is not known yet: made in a circle, made later, or not at all."""
    for level in reversed(path):
        makers = {output: at for at, node in enumerate(level.nodes) for output in node.output}
        if name in makers:
            maker = describe(level.nodes[makers[name]], makers[name])
            if _depends(makers[name], level, makers):
                return InvalidModelError(f"{label}: its input '{name}' comes from {maker}, which needs it (a cycle)")
            return InvalidModelError(
                f"{label}: its input '{name}' is made later, by {maker}",
                hint="the nodes must be in the order they run; onnx_ir: model.graph.sort()",
            )
    return InvalidModelError(f"{label}: its input '{name}' is not defined")


def _depends(start: int, level: _Level, makers: dict[str, int]) -> bool:
    """Whether node ``start`` of ``level``, by any road, reads what the node being read makes."""
    seen: set[int] = set()
    waiting = [start]
    while waiting:
        at = waiting.pop()
        if at == level.at:
            return True
        if at not in seen:
            seen.add(at)
            waiting += [makers[name] for name in _reads(level.nodes[at]) if name in makers]
    return False


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Every name that ``node`` or a node of its subgraphs reads."""
    for reader in _within([node]):
        yield from reader.input


def _within(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """``nodes`` and those of all their subgraphs."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting += graph.node
