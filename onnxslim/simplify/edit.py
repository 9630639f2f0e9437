"""Putting a rewrite into the graph, with the promises of the step: outputs keep their names, names stay unique, the
file does not grow past its allowance, and what is no longer read is gone at once.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator

import onnx_ir as ir

from onnxslim.graph.constants import tensor
from onnxslim.simplify.nested import read, subgraphs, unique_names, walk
from onnxslim.simplify.rule import held, op
from onnxslim.simplify.size import OVERHEAD, structure


class Editor:
    """Edits one model in place.

    Args:
        model: The model, in which a value's name means one value (:func:`onnxslim.simplify.tidy.prepare`).
        allowance: By how many bytes the edits may let the file grow, all together.
    """

    def __init__(self, model: ir.Model, allowance: float) -> None:
        self.model = model
        self.allowance = allowance

    def replace(self, root: ir.Node, found: dict[ir.Value, ir.Value]) -> str | list[ir.Node]:
        """Replace the keys of ``found`` by its values; new nodes go in front of ``root``.

        Returns:
            The nodes worth another look, or the reason why the replacement was refused.
        """
        found = {old: _as_output(new) if old.is_graph_output() else new for old, new in found.items()}
        nodes = list(_new_nodes(found.values()))
        values = [*found.values(), *(value for node in nodes for value in node.inputs if value is not None)]
        constants = list(dict.fromkeys(value for value in values if _is_new_constant(value)))
        refusal = self._refuse(root, found, nodes, constants)
        if refusal is not None:
            for node in nodes:
                _detach(node)
            return refusal
        wanted = {value: str(value.meta.pop("like", None) or root.outputs[0].name) for value in constants}
        for value, name in wanted.items():
            value.name = self.fresh(name)
            self.model.graph.register_initializer(value)
        heirs: dict[ir.Node | None, ir.Node] = {}  # what replaces a node is called as it was
        for old, new in found.items():
            heirs.setdefault(new.producer(), old.producer() or root)
        for node in nodes:
            if node.name is None:
                node.name = heirs[node].name if node in heirs else f"{root.name or ''}_{node.op_type}"
            for output in node.outputs:
                if output.name is None:
                    output.name = self.fresh(f"{root.outputs[0].name}_{node.op_type}")
        _graph(root).insert_before(root, nodes)
        touched = dict.fromkeys(nodes)
        for old, new in found.items():
            self._swap(old, new, fresh=new.producer() in touched)
            touched.update(dict.fromkeys(new.consumers()))
        touched.update(dict.fromkeys(self.erase([root, *_producers(found)])))
        for node in nodes:
            self._name(node)
        for value, name in wanted.items():
            if name not in self._names:  # what had the name is gone, so a folded weight keeps its own
                self._names.discard(str(value.name))
                value.name = self.fresh(name)
        return [node for node in touched if node.graph is not None]

    @functools.cached_property
    def _names(self) -> set[str]:
        return unique_names(self.model)

    @functools.cached_property
    def _named(self) -> defaultdict[str, set[ir.Node]]:
        found = defaultdict[str, set[ir.Node]](set)
        for node in walk(self.model.graph, subgraphs):
            if node.name:
                found[node.name].add(node)
        return found

    def _name(self, node: ir.Node) -> None:
        """Give the new ``node`` a name that no other has: runtimes refuse two of one name."""
        stem, count = node.name, 1
        while node.name and any(other.graph is not None and other is not node for other in self._named[node.name]):
            count += 1
            node.name = f"{stem}_{count}"
        if node.name:
            self._named[node.name].add(node)

    def fold(self, value: ir.Value, found: ir.TensorProtocol) -> None:
        """Replace ``value`` by the constant it is worth."""
        node = value.producer()
        assert node is not None
        kept, self.allowance = self.allowance, math.inf  # whoever folds has paid for it already
        self.replace(node, {value: held(found, value)})
        self.allowance = kept

    def erase(self, nodes: Iterable[ir.Node]) -> list[ir.Node]:
        """Remove those of ``nodes`` that nobody reads, and what only they read; returns the readers beside them."""
        stack, beside = list(nodes), dict[ir.Node, None]()
        while stack:
            node = stack.pop()
            if node.graph is None or any(output.uses() or output.is_graph_output() for output in node.outputs):
                continue
            was_read = list(dict.fromkeys(read(node)))
            _detach(node)
            _graph(node).remove(node)
            self._names.difference_update(str(output.name) for output in node.outputs)
            for value in was_read:
                before = value.producer()
                if before is not None:
                    stack.append(before)
                elif drop_unread(value):
                    self._names.discard(str(value.name))
                if len(value.uses()) == 1:  # a pattern that wanted to be its only reader may fit now
                    beside.update(dict.fromkeys(value.consumers()))
        return list(beside)

    def sweep(self) -> int:
        """Remove every node and initializer that nothing reads; returns how many went."""
        nodes = list(walk(self.model.graph))
        self.erase(reversed(nodes))
        initializers = list(self.model.graph.initializers.values())
        for value in initializers:
            drop_unread(value)
        left = sum(node.graph is not None for node in nodes) + len(self.model.graph.initializers)
        return len(nodes) + len(initializers) - left

    def fresh(self, stem: str) -> str:
        """A value name that the model does not have yet."""
        name, count = stem, 1
        while name in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._names.add(name)
        return name

    def pay(self, growth: int) -> str | None:
        """Take ``growth`` bytes from the allowance (a negative growth adds to it), or say why not."""
        if growth > max(self.allowance, 0):
            return f"the file would grow by {growth} bytes (--max-fold-bytes raises the limit)"
        self.allowance -= growth
        return None

    def _refuse(
        self, root: ir.Node, found: dict[ir.Value, ir.Value], nodes: list[ir.Node], constants: list[ir.Value]
    ) -> str | None:
        for old, new in found.items():
            if old.is_graph_output() and new.graph is not None:
                node = new.producer()
                if node is None or node.graph is not root.graph or new.is_graph_output():
                    return "an output of the graph must keep its own name"
        dying, unread = _dying(root, found)
        added = sum(map(structure, nodes)) + sum(weight(value) + len(value.meta.get("like", "")) for value in constants)
        return self.pay(added - sum(map(structure, dying)) - sum(map(weight, unread)))

    def _swap(self, old: ir.Value, new: ir.Value, *, fresh: bool) -> None:
        if fresh or old.is_graph_output():
            name, old.name = old.name, self.fresh(f"{old.name}_before")
            new.name = name
            new.metadata_props.update(old.metadata_props)
            new.doc_string = old.doc_string
        if fresh or new.shape is None:
            new.shape = old.shape
        if fresh or new.type is None:
            new.type = old.type
        old.replace_all_uses_with(new, replace_graph_outputs=True)


def weight(value: ir.Value) -> int:
    """Bytes that the constant ``value`` takes in the file, about."""
    found = tensor(value)
    return 0 if found is None else int(found.nbytes) + OVERHEAD + len(value.name or "")


def drop_unread(value: ir.Value) -> bool:
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
        stack.extend((value.producer(), False) for value in read(node))


def _as_output(value: ir.Value) -> ir.Value:
    """A new constant that a graph returns is made by a node: in a nested graph nothing else can return it."""
    return op("Constant", [], {"value": value.const_value}) if _is_new_constant(value) else value


def _is_new_constant(value: ir.Value) -> bool:
    return value.producer() is None and value.graph is None and value.const_value is not None


def _producers(found: dict[ir.Value, ir.Value]) -> list[ir.Node]:
    return [node for value in found if (node := value.producer()) is not None]


def _dying(root: ir.Node, found: dict[ir.Value, ir.Value]) -> tuple[list[ir.Node], list[ir.Value]]:
    """The nodes and initializers that nobody would read any more; new nodes count as readers of what they read already."""
    dead: dict[ir.Node, None] = {}
    unread: dict[ir.Value, None] = {}
    stack = [root, *_producers(found)]
    while stack:
        node = stack.pop()
        if node in dead or any(not _unread(output, dead, found) for output in node.outputs):
            continue
        dead[node] = None
        for value in read(node):
            before = value.producer()
            if before is not None:
                stack.append(before)
    for node in dead:
        for value in read(node):
            stored = value.is_initializer() and not (value.is_graph_input() or value.is_graph_output())
            if stored and all(use.node in dead for use in value.uses()):
                unread[value] = None
    return list(dead), list(unread)


def _unread(value: ir.Value, dead: Container[ir.Node], found: dict[ir.Value, ir.Value]) -> bool:
    if value in found:
        return True
    return not value.is_graph_output() and all(use.node in dead for use in value.uses())


def _detach(node: ir.Node) -> None:
    """Stop ``node``, and every node inside its graphs, from being a reader of anything."""
    for graph in subgraphs(node):
        for inner in list(walk(graph, subgraphs)):
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
