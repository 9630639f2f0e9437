"""Names: every value defined once, before it is read, in this graph or one around it.

Specification: "Graphs" and "Names Within a Graph" in https://github.com/onnx/onnx/blob/main/docs/IR.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import onnx

from onnxslim.core.errors import InvalidModelError, UnsupportedError
from onnxslim.model_io import tensor_data

_Attr = onnx.AttributeProto

#: What a function is called by: domain, name, overload.
_FunctionId = tuple[str, str, str]

#: The first IR version whose initializers need not be inputs as well; from it on, a caller may replace one that is both.
FREE_INITIALIZERS_IR = 4
#: Subgraphs within subgraphs: a file has at most 33 (protobuf allows 100 messages), one built in memory may have more.
MAX_NESTING = 50


class _Level(NamedTuple):
    """One graph on the way down: its nodes, the position of the one being read, and the names known so far."""

    nodes: Sequence[onnx.NodeProto]
    position: int
    known: set[str]


def check(model: onnx.ModelProto) -> None:
    """Raise what the versions and names of ``model`` and the data of its tensors show to be wrong."""
    _check_versions(model)
    calls: dict[_FunctionId, set[_FunctionId]] = {}
    for function in model.functions:
        label = f"function '{function.name}'"
        tensor_data.check_texts(label, function.name, function.domain, function.overload, function.doc_string)
        tensor_data.check_texts(label, *function.input, *function.output, *function.attribute)
        function_id = (function.domain, function.name, function.overload)
        if function_id in calls:
            raise InvalidModelError(f"{label} is defined twice")
        _read_opset_imports(function.opset_import, f"{label}: ")
        for attribute in function.attribute_proto:
            _check_attribute(attribute, label, [], in_function=True)
        for value in function.value_info:
            tensor_data.check_texts(label, value.name, value.doc_string)
            tensor_data.check_type(value.type, f"value '{value.name}'")
        known = _check_distinct(function.input, f"{label} has two inputs")
        _check_nodes(function.node, [], known, in_function=True)
        _check_produced(function.output, known, label)
        calls[function_id] = {(node.domain, node.op_type, node.overload) for node in _iter_nodes(function.node)}
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        raise InvalidModelError(f"function '{error.args[1][0][1]}' calls itself") from None
    for value in model.graph.input:
        if value.type.WhichOneof("value") is None:
            hint = "set its element type and, where known, its shape: nothing else in the model says them"
            raise InvalidModelError(f"input '{value.name}' has no type", hint=hint)
    _check_graph(model.graph, [], in_function=False)


def describe(node: onnx.NodeProto, index: int) -> str:
    """A node in an error message, by its name or else by its position."""
    return f"node '{node.name}' ({node.op_type})" if node.name else f"node {index} ({node.op_type})"


def _check_versions(model: onnx.ModelProto) -> None:
    if not model.HasField("graph"):
        raise InvalidModelError("not an ONNX model: it has no graph")
    if model.ir_version < 1:
        raise InvalidModelError("not an ONNX model: it has no IR version")
    if not 3 <= model.ir_version <= onnx.IR_VERSION:
        raise UnsupportedError(
            f"IR version {model.ir_version}: 3 to {onnx.IR_VERSION} are read",
            hint="export it again, or for a newer one: pip install -U onnx",
        )
    tensor_data.check_texts("the model", model.producer_name, model.producer_version, model.domain, model.doc_string)
    tensor_data.check_texts("the metadata", *(text for entry in model.metadata_props for text in (entry.key, entry.value)))
    versions = _read_opset_imports(model.opset_import, "")
    newest = onnx.defs.onnx_opset_version()
    if not 7 <= versions.get("", 7) <= newest:
        raise UnsupportedError(
            f"opset {versions['']}: 7 to {newest} are read",
            hint="an older one: onnx.version_converter.convert_version; a newer one: pip install -U onnx",
        )


def _read_opset_imports(opsets: Iterable[onnx.OperatorSetIdProto], label: str) -> dict[str, int]:
    """The version of each domain; one that is imported twice has to have the same version both times.

    (skl2onnx writes a domain once for each operator that brought it in.)
    """
    versions: dict[str, int] = {}
    for opset in opsets:
        tensor_data.check_texts("an opset import", opset.domain)
        domain = "" if opset.domain == "ai.onnx" else opset.domain
        place = f"{label}opset import '{domain or 'ai.onnx'}'"
        if opset.version < 1:
            raise InvalidModelError(f"{place}: {opset.version} is no version")
        if versions.setdefault(domain, opset.version) != opset.version:
            text = f"{place}: {versions[domain]}, and a second one of {opset.version}"
            raise InvalidModelError(text, hint="remove the one that the nodes were not written for")
    return versions


def _check_graph(graph: onnx.GraphProto, outer_levels: list[_Level], *, in_function: bool) -> None:
    label = f"graph '{graph.name}'"
    if len(outer_levels) > MAX_NESTING:
        raise InvalidModelError(f"{label} is more than {MAX_NESTING} subgraphs deep")
    tensor_data.check_texts(label, graph.name, graph.doc_string)
    if not graph.output:
        raise InvalidModelError(f"{label} has no outputs")
    if graph.sparse_initializer:
        raise UnsupportedError(f"initializer '{graph.sparse_initializer[0].values.name}' is sparse", hint="store it dense")
    for value in (*graph.input, *graph.output, *graph.value_info):
        tensor_data.check_texts(label, value.name, value.doc_string)
        tensor_data.check_type(value.type, f"value '{value.name}'")
    for tensor in graph.initializer:
        tensor_data.check_tensor(tensor, f"initializer '{tensor.name}'")
    known = _check_distinct((value.name for value in graph.input), f"{label} has two inputs")
    known |= _check_distinct((tensor.name for tensor in graph.initializer), f"{label} has two initializers")
    _check_nodes(graph.node, outer_levels, known, in_function=in_function)
    _check_produced((value.name for value in graph.output), known, label)


def _check_nodes(nodes: Sequence[onnx.NodeProto], outer_levels: list[_Level], known: set[str], *, in_function: bool) -> None:
    """Read ``nodes`` in order, adding what they define to ``known``."""
    scopes = [known, *(level.known for level in reversed(outer_levels))]
    for index, node in enumerate(nodes):
        label = describe(node, index)
        tensor_data.check_texts(label, node.name, node.op_type, node.domain, node.overload, node.doc_string)
        tensor_data.check_texts(label, *node.input, *node.output)
        for name in node.input:
            if name and not any(name in scope for scope in scopes):
                raise _explain_unresolved(name, label, [*outer_levels, _Level(nodes, index, known)])
        if node.attribute:
            path = [*outer_levels, _Level(nodes, index, known)]
            for attribute in node.attribute:
                _check_attribute(attribute, label, path, in_function=in_function)
            _check_distinct((attribute.name for attribute in node.attribute), f"{label} has two attributes")
        for name in node.output:
            if name in known:
                raise InvalidModelError(f"{label}: its output '{name}' is already defined")
            if name:
                known.add(name)


def _check_attribute(attribute: onnx.AttributeProto, label: str, levels: list[_Level], *, in_function: bool) -> None:
    tensor_data.check_texts(label, attribute.name, attribute.doc_string, attribute.ref_attr_name)
    if attribute.ref_attr_name and not in_function:
        raise InvalidModelError(f"{label}: '{attribute.name}' refers to an attribute of a function, but is in none")
    if attribute.ref_attr_name:
        return
    label = f"{label}, attribute '{attribute.name}'"
    kind = attribute.type
    if kind in (_Attr.TENSOR, _Attr.TENSORS):
        for tensor in attribute.tensors if kind == _Attr.TENSORS else (attribute.t,):
            tensor_data.check_tensor(tensor, label)
    elif kind in (_Attr.GRAPH, _Attr.GRAPHS):
        for graph in attribute.graphs if kind == _Attr.GRAPHS else (attribute.g,):
            _check_graph(graph, levels, in_function=in_function)
    elif kind in (_Attr.TYPE_PROTO, _Attr.TYPE_PROTOS):
        for type_ in attribute.type_protos if kind == _Attr.TYPE_PROTOS else (attribute.tp,):
            tensor_data.check_type(type_, label)
    elif kind in (_Attr.SPARSE_TENSOR, _Attr.SPARSE_TENSORS):
        raise UnsupportedError(f"{label} is a sparse tensor", hint="store it dense")
    elif kind == _Attr.STRINGS:
        for text in attribute.strings:
            try:
                text.decode()
            except UnicodeDecodeError:
                raise InvalidModelError(f"{label}: {text[:40]!r} is not UTF-8") from None


def _check_distinct(names: Iterable[str], message: str) -> set[str]:
    """The set of ``names``; an empty or repeated one is refused with ``message``."""
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            raise InvalidModelError(f"{message} named '{name}'" if name else f"{message.replace(' two ', ' unnamed ')}")
        seen.add(name)
    return seen


def _check_produced(names: Iterable[str], known: set[str], label: str) -> None:
    for name in names:
        if name not in known:
            raise InvalidModelError(f"{label}: nothing in it makes its output '{name}'")


def _explain_unresolved(name: str, label: str, levels: list[_Level]) -> InvalidModelError:
    """Why ``name`` is not known yet: made in a circle, made later, or not at all."""
    for level in reversed(levels):
        producers = {output: index for index, node in enumerate(level.nodes) for output in node.output}
        if name in producers:
            producer = describe(level.nodes[producers[name]], producers[name])
            if _depends_on_current(producers[name], level, producers):
                return InvalidModelError(f"{label}: its input '{name}' comes from {producer}, which needs it (a cycle)")
            return InvalidModelError(
                f"{label}: its input '{name}' is made later, by {producer}",
                hint="the nodes must be in the order they run; onnx_ir: model.graph.sort()",
            )
    return InvalidModelError(f"{label}: its input '{name}' is not defined")


def _depends_on_current(start: int, level: _Level, producers: dict[str, int]) -> bool:
    """Whether node ``start`` of ``level``, by any road, reads what the node being read makes."""
    seen: set[int] = set()
    pending = [start]
    while pending:
        index = pending.pop()
        if index == level.position:
            return True
        if index not in seen:
            seen.add(index)
            reads = (name for reader in _iter_nodes([level.nodes[index]]) for name in reader.input)
            pending += [producers[name] for name in reads if name in producers]
    return False


def _iter_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """``nodes`` and those of all their subgraphs."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending += graph.node
