"""Putting a rewrite into the graph, with the promises of the step: outputs keep their names, names stay unique, the
file does not grow past its allowance, and what is no longer read is gone at once.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator

import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.traversal import iter_reads, iter_subgraphs, make_names_unique, walk
from onnxslim.simplification.file_size import OVERHEAD_BYTES, node_bytes
from onnxslim.simplification.rule import op, tensor_const


class Editor:
    """Edits one model in place.

    Args:
        model: The model, in which a value's name means one value (:func:`onnxslim.simplification.prepare_finish.prepare`).
        allowance: By how many bytes the edits may let the file grow, all together.
    """

    def __init__(self, model: ir.Model, allowance: float) -> None:
        self.model = model
        self.allowance = allowance

    def replace(self, root: ir.Node, replacements: dict[ir.Value, ir.Value]) -> str | list[ir.Node]:
        """Replace the keys of ``replacements`` by its values; new nodes go in front of ``root``.

        Returns:
            The nodes worth another look, or the reason why the replacement was refused.
        """
        replacements = {old: _make_output(new) if old.is_graph_output() else new for old, new in replacements.items()}
        nodes = list(_new_nodes(replacements.values()))
        values = [*replacements.values(), *(value for node in nodes for value in node.inputs if value is not None)]
        constants = list(dict.fromkeys(value for value in values if _is_new_constant(value)))
        refusal = self._find_refusal(root, replacements, nodes, constants)
        if refusal is not None:
            for node in nodes:
                _detach(node)
            return refusal
        wanted_names = {value: str(value.meta.pop("like", None) or root.outputs[0].name) for value in constants}
        for value, name in wanted_names.items():
            value.name = self.make_unique_name(name)
            self.model.graph.register_initializer(value)
        successors: dict[ir.Node | None, ir.Node] = {}  # what replaces a node is called as it was
        for old, new in replacements.items():
            successors.setdefault(new.producer(), old.producer() or root)
        for node in nodes:
            if node.name is None:
                node.name = successors[node].name if node in successors else f"{root.name or ''}_{node.op_type}"
            for output in node.outputs:
                if output.name is None:
                    output.name = self.make_unique_name(f"{root.outputs[0].name}_{node.op_type}")
        _graph(root).insert_before(root, nodes)
        touched = dict.fromkeys(nodes)
        for old, new in replacements.items():
            self._swap_value(old, new, is_new=new.producer() in touched)
            touched.update(dict.fromkeys(new.consumers()))
        touched.update(dict.fromkeys(self.remove_dead([root, *_get_producers(replacements)])))
        for node in nodes:
            self._assign_name(node)
        for value, name in wanted_names.items():
            if name not in self._names:  # what had the name is gone, so a folded weight keeps its own
                self._names.discard(str(value.name))
                value.name = self.make_unique_name(name)
        return [node for node in touched if node.graph is not None]

    @functools.cached_property
    def _names(self) -> set[str]:
        return make_names_unique(self.model)

    @functools.cached_property
    def _nodes_by_name(self) -> defaultdict[str, set[ir.Node]]:
        nodes_by_name = defaultdict[str, set[ir.Node]](set)
        for node in walk(self.model.graph, iter_subgraphs):
            if node.name:
                nodes_by_name[node.name].add(node)
        return nodes_by_name

    def _assign_name(self, node: ir.Node) -> None:
        """Give the new ``node`` a name that no other has: runtimes refuse two of one name."""
        stem, count = node.name, 1
        while node.name and any(other.graph is not None and other is not node for other in self._nodes_by_name[node.name]):
            count += 1
            node.name = f"{stem}_{count}"
        if node.name:
            self._nodes_by_name[node.name].add(node)

    def replace_by_constant(self, value: ir.Value, result: ir.TensorProtocol) -> None:
        """Replace ``value`` by the constant it is worth."""
        node = value.producer()
        assert node is not None
        allowance, self.allowance = self.allowance, math.inf  # whoever folds has paid for it already
        self.replace(node, {value: tensor_const(result, value)})
        self.allowance = allowance

    def remove_dead(self, nodes: Iterable[ir.Node]) -> list[ir.Node]:
        """Remove those of ``nodes`` that nobody reads, and what only they read; returns the readers beside them."""
        stack, neighbors = list(nodes), dict[ir.Node, None]()
        while stack:
            node = stack.pop()
            if node.graph is None or any(output.uses() or output.is_graph_output() for output in node.outputs):
                continue
            read_values = list(dict.fromkeys(iter_reads(node)))
            _detach(node)
            _graph(node).remove(node)
            self._names.difference_update(str(output.name) for output in node.outputs)
            for value in read_values:
                producer = value.producer()
                if producer is not None:
                    stack.append(producer)
                elif drop_if_unread(value):
                    self._names.discard(str(value.name))
                if len(value.uses()) == 1:  # a pattern that wanted to be its only reader may fit now
                    neighbors.update(dict.fromkeys(value.consumers()))
        return list(neighbors)

    def remove_all_dead(self) -> int:
        """Remove every node and initializer that nothing reads; returns how many went."""
        nodes = list(walk(self.model.graph))
        self.remove_dead(reversed(nodes))
        initializers = list(self.model.graph.initializers.values())
        for value in initializers:
            drop_if_unread(value)
        remaining = sum(node.graph is not None for node in nodes) + len(self.model.graph.initializers)
        return len(nodes) + len(initializers) - remaining

    def make_unique_name(self, stem: str) -> str:
        """A value name that the model does not have yet."""
        name, count = stem, 1
        while name in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name)
        return name

    def spend_allowance(self, growth: int) -> str | None:
        """Take ``growth`` bytes from the allowance (a negative growth adds to it), or say why not."""
        if growth > max(self.allowance, 0):
            return f"the file would grow by {growth} bytes (--max-fold-bytes raises the limit)"
        self.allowance -= growth
        return None

    def _find_refusal(
        self, root: ir.Node, replacements: dict[ir.Value, ir.Value], nodes: list[ir.Node], constants: list[ir.Value]
    ) -> str | None:
        for old, new in replacements.items():
            if old.is_graph_output() and new.graph is not None:
                node = new.producer()
                if node is None or node.graph is not root.graph or new.is_graph_output():
                    return "an output of the graph must keep its own name"
        dead, unread = _find_dead(root, replacements)
        added = sum(map(node_bytes, nodes)) + sum(
            stored_bytes(value) + len(value.meta.get("like", "")) for value in constants
        )
        return self.spend_allowance(added - sum(map(node_bytes, dead)) - sum(map(stored_bytes, unread)))

    def _swap_value(self, old: ir.Value, new: ir.Value, *, is_new: bool) -> None:
        if is_new or old.is_graph_output():
            name, old.name = old.name, self.make_unique_name(f"{old.name}_before")
            new.name = name
            new.metadata_props.update(old.metadata_props)
            new.doc_string = old.doc_string
        if is_new or new.shape is None:
            new.shape = old.shape
        if is_new or new.type is None:
            new.type = old.type
        old.replace_all_uses_with(new, replace_graph_outputs=True)


def stored_bytes(value: ir.Value) -> int:
    """Bytes that the constant ``value`` takes in the file, about."""
    stored = get_const_tensor(value)
    return 0 if stored is None else int(stored.nbytes) + OVERHEAD_BYTES + len(value.name or "")


def drop_if_unread(value: ir.Value) -> bool:
    """Remove the initializer ``value`` if nothing reads or returns it and no caller may feed it; whether it went."""
    if not value.is_initializer() or value.uses() or value.is_graph_output() or value.is_graph_input():
        return False
    del _owner(value).initializers[str(value.name)]
    return True


def _new_nodes(values: Iterable[ir.Value]) -> Iterator[ir.Node]:
    """The nodes without a graph behind ``values``, each after those it reads."""
    seen: set[ir.Node] = set()
    stack = [(value.producer(), False) for value in values]
    while stack:
        node, ready = stack.pop()
        if node is None or node.graph is not None or (node in seen and not ready):
            continue
        if ready:
            yield node
            continue
        seen.add(node)
        stack.append((node, True))
        stack.extend((value.producer(), False) for value in iter_reads(node))


def _make_output(value: ir.Value) -> ir.Value:
    """A new constant that a graph returns is made by a node: in a nested graph nothing else can return it."""
    return op("Constant", [], {"value": value.const_value}) if _is_new_constant(value) else value


def _is_new_constant(value: ir.Value) -> bool:
    return value.producer() is None and value.graph is None and value.const_value is not None


def _get_producers(replacements: dict[ir.Value, ir.Value]) -> list[ir.Node]:
    return [node for value in replacements if (node := value.producer()) is not None]


def _find_dead(root: ir.Node, replacements: dict[ir.Value, ir.Value]) -> tuple[list[ir.Node], list[ir.Value]]:
    """The nodes and initializers that nobody would read any more; new nodes count as readers of what they read already."""
    dead: dict[ir.Node, None] = {}
    unread: dict[ir.Value, None] = {}
    stack = [root, *_get_producers(replacements)]
    while stack:
        node = stack.pop()
        if node in dead or any(not _is_unread(output, dead, replacements) for output in node.outputs):
            continue
        dead[node] = None
        for value in iter_reads(node):
            producer = value.producer()
            if producer is not None:
                stack.append(producer)
    for node in dead:
        for value in iter_reads(node):
            stored = value.is_initializer() and not (value.is_graph_input() or value.is_graph_output())
            if stored and all(use.node in dead for use in value.uses()):
                unread[value] = None
    return list(dead), list(unread)


def _is_unread(value: ir.Value, dead: Container[ir.Node], replacements: dict[ir.Value, ir.Value]) -> bool:
    if value in replacements:
        return True
    return not value.is_graph_output() and all(use.node in dead for use in value.uses())


def _detach(node: ir.Node) -> None:
    """Stop ``node``, and every node inside its graphs, from being a reader of anything."""
    for graph in iter_subgraphs(node):
        for inner in list(walk(graph, iter_subgraphs)):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)


def _graph(node: ir.Node) -> ir.Graph:
    assert node.graph is not None
    return node.graph


def _owner(value: ir.Value) -> ir.Graph:
    assert value.graph is not None
    return value.graph
