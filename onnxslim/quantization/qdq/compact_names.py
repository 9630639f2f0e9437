"""Short names and no needless types in a quantised graph: in a small model names weigh as much as weights.

A QDQ graph has four nodes and a dozen tensors more than the float one for each layer. Layers and their tensors keep their
names; what was put between them is numbered, and of equal scales and zero points there is one. Types and shapes are declared
where shape inference does not say them anyway; where in a program a node came from (its doc string) is not told any more.
Where names still take more than 4 % of the file, those of more than 16 letters are shortened too, but for what the model
takes and returns: comparing layer by layer finds them by their long ones.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import iter_subgraphs, iter_values, walk_graphs
from onnxslim.model_io.short_names import MAX_LENGTH, shorten_name
from onnxslim.simplification.file_size import estimate_bytes

#: Scales and zero points are smaller; codes that are equal were one weight before.
_MAX_SHARED_BYTES = 1 << 16
#: Names may take this share of the file: in larger files they are left as they were.
MAX_NAME_SHARE = 0.04
_QDQ_OPS = ("QuantizeLinear", "DequantizeLinear")


def list_names(model: ir.Model) -> frozenset[str]:
    """The names of all nodes and values of ``model``."""
    nodes = list(model.graph.all_nodes())
    values = (value for graph in walk_graphs(model.graph, iter_subgraphs) for value in iter_values(graph))
    return frozenset({str(value.name) for value in values} | {str(node.name) for node in nodes})


def compact(model: ir.Model, known_names: Collection[str] | None = None) -> None:
    """Rename, in place, what quantising put into the graphs; same arithmetic.

    What QuantizeLinear and DequantizeLinear of the main graph read and make has telling names: ``w7q`` are the codes of a
    constant, ``a7q`` those of an activation, ``w7s`` the scale, ``w7z`` the zero point and ``w7`` what is dequantised.
    Inputs and outputs of the graph keep their names, and so does what other nodes read.

    Args:
        model: A quantised model.
        known_names: What nodes and values were called before (:func:`list_names`): everything else is numbered, ``w7`` a
            constant and ``a7`` what a node makes, and nodes go without. None: only what is said above.
    """
    graph = model.graph
    qdq_nodes = [node for node in graph if node.op_type in _QDQ_OPS and not node.domain]
    _deduplicate_parameters(model, qdq_nodes)
    nodes_by_codes: dict[ir.Value, list[ir.Node]] = {}
    for node in qdq_nodes:
        codes = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
        if codes is not None:
            nodes_by_codes.setdefault(codes, []).append(node)
    renamer = _Renamer(graph)
    for number, (codes, nodes) in enumerate(nodes_by_codes.items(), start=1):
        stem = f"{'w' if codes.is_initializer() else 'a'}{number}"
        renamer.rename(codes, f"{stem}q")
        for node in nodes:
            node.name = ""  # None would be named again by whoever copies the graph
            for value, role in zip(node.inputs[1:], "sz", strict=False):
                if value is not None and value.is_initializer():
                    renamer.rename(value, stem + role)
            if node.op_type == "DequantizeLinear":
                renamer.rename(node.outputs[0], stem)
    if known_names is not None:
        _deduplicate_new(model, known_names)
        _number_new_names(model, renamer, known_names, start=len(nodes_by_codes) + 1)
        if _measure_name_share(model) > MAX_NAME_SHARE:
            _shorten_names(model, renamer)
    for node in model.graph.all_nodes():
        node.doc_string = None
        node.metadata_props.clear()
    if qdq_nodes or known_names is not None:
        _drop_inferred_types(model)


def _deduplicate_new(model: ir.Model, known_names: Collection[str]) -> None:
    """Let equal small initializers of the main graph be one, as far as quantising put them there."""
    originals: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
    for value in list(model.graph.initializers.values()):
        tensor = value.const_value
        if tensor is None or str(value.name) in known_names or tensor.nbytes > _MAX_SHARED_BYTES or value.is_graph_output():
            continue
        original = originals.setdefault((str(tensor.dtype), tuple(tensor.shape.numpy()), tensor.tobytes()), value)
        if original is not value:
            value.replace_all_uses_with(original)
            del model.graph.initializers[str(value.name)]


def _number_new_names(model: ir.Model, renamer: _Renamer, known_names: Collection[str], start: int) -> None:
    number = start
    for graph in walk_graphs(model.graph, iter_subgraphs):
        new_values = [value for value in iter_values(graph) if str(value.name) not in known_names]
        for value in new_values:
            if renamer.rename(value, f"{'w' if value.is_initializer() else 'a'}{number}", known_by_others=False):
                number += 1
        for node in graph:
            if node.name and node.name not in known_names:
                node.name = ""


def _measure_name_share(model: ir.Model) -> float:
    """The share of the file that names take, each as often as it stands there."""
    nodes = list(model.graph.all_nodes())
    names = [value.name for node in nodes for value in (*node.inputs, *node.outputs) if value is not None]
    names += [node.name for node in nodes] + [name for graph in model.graphs() for name in graph.initializers]
    return sum(len(name or "") for name in names) / estimate_bytes(model)


def _shorten_names(model: ir.Model, renamer: _Renamer) -> None:
    """Give values with long names short ones (:mod:`onnxslim.model_io.short_names`); nodes with long ones go without."""
    for graph in walk_graphs(model.graph, iter_subgraphs):
        for value in list(iter_values(graph)):
            if (short := shorten_name(str(value.name))) != value.name:
                renamer.rename(value, short, known_by_others=False)
        for node in graph:
            if len(node.name or "") > MAX_LENGTH:
                node.name = ""


def _drop_inferred_types(model: ir.Model) -> None:
    """Take back what is declared of tensors inside the main graph and follows from the rest."""
    inner_values = [value for node in model.graph for value in node.outputs if not value.is_graph_output()]
    declared = [(value.type, value.shape) for value in inner_values]
    for value in inner_values:
        value.type = value.shape = None
    shapes.infer(model)
    for value, (declared_type, shape) in zip(inner_values, declared, strict=True):
        is_inferred = (value.type, value.shape) == (declared_type, shape)
        value.type, value.shape = (None, None) if is_inferred or declared_type is None else (declared_type, shape)


class _Renamer:
    """Names that a graph has, each value renamed once at most."""

    def __init__(self, graph: ir.Graph) -> None:
        graphs = walk_graphs(graph, iter_subgraphs)
        self._taken = {str(value.name) for inner in graphs for value in iter_values(inner)}
        self._renamed: set[ir.Value] = set()

    def rename(self, value: ir.Value, name: str, *, known_by_others: bool = True) -> bool:
        """Call ``value`` ``name`` (with underscores where it is taken), unless callers know it by its own, or other nodes do
        (``known_by_others``); whether it is called so now.
        """
        if value in self._renamed or value.is_graph_input() or value.is_graph_output():
            return False
        if known_by_others and value.is_initializer() and any(use.node.op_type not in _QDQ_OPS for use in value.uses()):
            return False
        while name in self._taken:
            name += "_"
        value.name = name
        self._taken.add(name)
        self._renamed.add(value)
        return True


def _deduplicate_parameters(model: ir.Model, qdq_nodes: list[ir.Node]) -> None:
    """Let equal scales and equal zero points be one initializer."""
    editor = GraphEditor(model.graph)
    originals: dict[tuple[str, tuple[int, ...], bytes], ir.Value] = {}
    for node in qdq_nodes:
        for position, value in list(enumerate(node.inputs))[1:]:
            parameter = None if value is None or value.is_graph_input() else get_const_tensor(value)
            if value is None or parameter is None or not value.is_initializer():
                continue
            original = originals.setdefault(
                (str(parameter.dtype), tuple(parameter.shape.numpy()), parameter.tobytes()), value
            )
            if original is value:
                continue
            editor.replace_input(node, position, original)
