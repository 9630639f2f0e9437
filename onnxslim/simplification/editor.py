"""Putting a rewrite into the graph, with the promises of the step: outputs keep their names, names stay unique, the
file does not grow past its allowance, and what is no longer read is gone at once.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Container, Iterable, Iterator

import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.cost import FLOAT_TYPES
from onnxslim.graph.editor import GraphEditor, detach, graph_of
from onnxslim.graph.finite_weights import is_finite
from onnxslim.graph.traversal import iter_reads, make_names_unique
from onnxslim.simplification.file_size import OVERHEAD_BYTES, node_bytes
from onnxslim.simplification.rule import op, tensor_const


class LeftOut:
    """Rewrites that rules are not to do (:func:`~onnxslim.simplification.rule.name_rewrite`), and which of them came up.

    Attributes:
        names: All of them.
        met: Those that a rule would have looked at.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names, self.met = tuple(names), set[str]()

    def includes(self, rewrite: str) -> bool:
        """Whether ``rewrite`` is one of them."""
        if rewrite not in self.names:
            return False
        self.met.add(rewrite)
        return True


class BoundedEditor(GraphEditor):
    """Edits one graph in place, within an allowance.

    Args:
        graph: Main graph, in which a value's name means one value (:func:`onnxslim.simplification.prepare_finish.prepare`).
        allowance: By how many bytes the edits may let the file grow, all together.
        left_out: Rewrites that rules are not to do.
        rewrites: What they did so far, in order.
    """

    def __init__(
        self, graph: ir.Graph, allowance: float, left_out: LeftOut | None = None, rewrites: Iterable[str] = ()
    ) -> None:
        super().__init__(graph)
        self.allowance, self.left_out, self.rewrites = allowance, left_out or LeftOut(), list(rewrites)

    @functools.cached_property
    def _names(self) -> Counter[str]:
        make_names_unique(self.graph)
        return super()._names

    def replace(self, root: ir.Node, replacements: dict[ir.Value, ir.Value], *, finite: bool = False) -> str | list[ir.Node]:
        """Replace the keys of ``replacements`` by its values; new nodes go in front of ``root``.

        Args:
            root: The last node of what is replaced.
            replacements: Old value -> its equal.
            finite: Refuse new constants that are NaN or infinite where all that go are finite: what was computed one factor
                after the other, and stayed within its type, leaves it when the factors are joined.

        Returns:
            The nodes worth another look, or the reason why the replacement was refused.
        """
        replacements = dict(replacements)
        for old, new in replacements.items():
            if old.is_graph_output() and _is_new_constant(new):  # in a nested graph only a node can make what it returns
                replacements[old] = op("Constant", [], {"value": new.const_value})
        nodes = list(_new_nodes(replacements.values()))
        values = [*replacements.values(), *(value for node in nodes for value in node.inputs if value is not None)]
        constants = list(dict.fromkeys(value for value in values if _is_new_constant(value)))
        refusal = self._find_refusal(root, replacements, nodes, constants, finite=finite)
        if refusal is not None:
            for node in nodes:
                detach(node)
            return refusal
        wanted_names = {value: str(value.meta.pop("like", None) or root.outputs[0].name) for value in constants}
        for value, name in wanted_names.items():
            value.name = self.make_unique_name(name)
            self.graph.register_initializer(value)
        successors: dict[ir.Node | None, ir.Node] = {}  # what replaces a node is called as it was
        for old, new in replacements.items():
            successors.setdefault(new.producer(), old.producer() or root)
        for node in nodes:
            if node.name is None:
                node.name = successors[node].name if node in successors else f"{root.name or ''}_{node.op_type}"
            for output in node.outputs:
                if output.name is None:
                    output.name = self.make_unique_name(f"{root.outputs[0].name}_{node.op_type}")
        graph_of(root).insert_before(root, nodes)
        touched = dict.fromkeys(nodes)
        for old, new in replacements.items():
            self.replace_value(old, new, is_new=new.producer() in touched)
            touched.update(dict.fromkeys(new.consumers()))
        touched.update(dict.fromkeys(self.remove_unread([root, *_get_producers(replacements)])))
        for node in nodes:
            self._assign_node_name(node)
        for value, name in wanted_names.items():
            if self._names[name] <= 0:  # what had the name is gone, so a folded weight keeps its own
                self.rename(value, name)
        return [node for node in touched if node.graph is not None]

    def replace_by_constant(self, value: ir.Value, result: ir.TensorProtocol) -> None:
        """Replace ``value`` by the constant it is worth."""
        node = value.producer()
        assert node is not None
        allowance, self.allowance = self.allowance, math.inf  # whoever folds has paid for it already
        self.replace(node, {value: tensor_const(result, value)})
        self.allowance = allowance

    def spend_allowance(self, growth: int) -> str | None:
        """Take ``growth`` bytes from the allowance (a negative growth adds to it), or say why not."""
        if growth > max(self.allowance, 0):
            return f"the file would grow by {growth} bytes (--max-fold-bytes raises the limit)"
        self.allowance -= growth
        return None

    def _find_refusal(
        self,
        root: ir.Node,
        replacements: dict[ir.Value, ir.Value],
        nodes: list[ir.Node],
        constants: list[ir.Value],
        *,
        finite: bool,
    ) -> str | None:
        for old, new in replacements.items():
            if old.is_graph_output() and new.graph is not None:
                node = new.producer()
                if node is None or node.graph is not root.graph or new.is_graph_output():
                    return "an output of the graph must keep its own name"
        dead, unread = _find_dead(root, replacements)
        if finite and not all(map(_is_finite, constants)) and all(map(_is_finite, unread)):
            return "the joined constant is beyond its type"
        added = sum(map(node_bytes, nodes)) + sum(
            stored_bytes(value) + len(value.meta.get("like", "")) for value in constants
        )
        return self.spend_allowance(added - sum(map(node_bytes, dead)) - sum(map(stored_bytes, unread)))


def stored_bytes(value: ir.Value) -> int:
    """Bytes that the constant ``value`` takes in the file, about."""
    stored = get_const_tensor(value)
    return 0 if stored is None else int(stored.nbytes) + OVERHEAD_BYTES + len(value.name or "")


def _is_finite(value: ir.Value) -> bool:
    stored = get_const_tensor(value)
    return stored is None or stored.dtype not in FLOAT_TYPES or is_finite(stored.numpy())


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
        stack += [producer for value in iter_reads(node) if (producer := value.producer()) is not None]
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
