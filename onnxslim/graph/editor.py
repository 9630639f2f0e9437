"""The one way to change a graph: what is new gets a free name, what stands for something else gets its name, type and
shape, and what nothing reads any more goes.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.traversal import iter_reads, iter_subgraphs, iter_values, walk, walk_graphs


class GraphEditor:
    """Edits one graph in place.

    Args:
        graph: A model's main graph; every new name is one that it does not have, nor a graph inside it.
        numbered_from: How the second of one name ends: ``w_2`` behind ``w``, or ``w_1`` as pruned models have it.
    """

    def __init__(self, graph: ir.Graph, *, numbered_from: int = 2) -> None:
        self.graph, self._numbered_from = graph, numbered_from

    @functools.cached_property
    def _names(self) -> Counter[str]:
        graphs = walk_graphs(self.graph, iter_subgraphs)
        return Counter(str(value.name) for graph in graphs for value in iter_values(graph))

    @functools.cached_property
    def _nodes_by_name(self) -> defaultdict[str, set[ir.Node]]:
        nodes_by_name = defaultdict[str, set[ir.Node]](set)
        for node in walk(self.graph, iter_subgraphs):
            if node.name:
                nodes_by_name[node.name].add(node)
        return nodes_by_name

    def make_unique_name(self, stem: str) -> str:
        """``stem``, or a name like it, that no value has yet; it counts as taken from now on."""
        name, number = stem, self._numbered_from
        while self._names[name] > 0:
            name, number = f"{stem}_{number}", number + 1
        self._names[name] += 1
        return name

    def rename(self, value: ir.Value, stem: str) -> None:
        """Call ``value`` ``stem``, or a name like it; the one it had is free."""
        self._names[str(value.name)] -= 1
        value.name = self.make_unique_name(stem)

    def add_initializer(
        self, stem: str, array: npt.ArrayLike, dtype: ir.DataType | None = None, *, graph: ir.Graph | None = None
    ) -> ir.Value:
        """A new initializer called ``stem`` or like it, which graphs inside this one can read too; or one of ``graph``, a
        graph inside it.
        """
        name, values = self.make_unique_name(stem), np.asarray(array, order="C")
        # without a dtype the plain class does: ir.tensor asks of every array whether it is of some other library
        tensor = ir.Tensor(values, name=name) if dtype is None else ir.tensor(values, dtype, name=name)
        return ir.tape.Tape(graph or self.graph).initializer(tensor)

    def add_node(
        self,
        op: str,
        *inputs: ir.Value | None,
        name: str,
        before: ir.Node | None = None,
        after: ir.Node | None = None,
        output: str | None = None,
        outputs: int = 1,
        dtype: ir.DataType | None = None,
        shape: ir.Shape | None = None,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> ir.Value:
        """A new node at the end of the graph, or next to a node in that one's graph.

        Args:
            op: The op's type.
            inputs: What it reads.
            name: What the node is called, or like it.
            before: The node that it stands in front of.
            after: The node that it stands behind.
            output: What the first output is called, or like it; by default it is called after the node.
            outputs: How many there are.
            dtype: Of the first output.
            shape: Of the first output.
            domain: The op's.
            attributes: By name, plain values or ``ir.Attr``.

        Returns:
            The first output.
        """
        node = ir.node(op, list(inputs), attributes, domain=domain, num_outputs=outputs, name=name)
        for index, value in enumerate(node.outputs):
            value.name = self.make_unique_name(output or (f"{name}_{index}" if outputs > 1 else f"{name}_output"))
        node.outputs[0].shape = shape
        if dtype is not None:
            node.outputs[0].dtype = dtype
        if before is not None:
            graph_of(before).insert_before(before, node)
        elif after is not None:
            graph_of(after).insert_after(after, node)
        else:
            self.graph.append(node)
        self._assign_node_name(node)
        return node.outputs[0]

    def add_cast(
        self,
        value: ir.Value,
        dtype: ir.DataType,
        *,
        name: str,
        before: ir.Node | None = None,
        after: ir.Node | None = None,
        output: str | None = None,
    ) -> ir.Value:
        """``value`` as ``dtype``; the rest as in :meth:`add_node`."""
        attributes = {"to": dtype}
        return self.add_node(
            "Cast", value, name=name, before=before, after=after, output=output, dtype=dtype, shape=value.shape,
            attributes=attributes,
        )  # fmt: skip

    def _assign_node_name(self, node: ir.Node) -> None:
        """Give ``node`` a name like the one it has that no other node has: runtimes refuse two of one name."""
        stem, number = node.name, self._numbered_from
        while node.name and any(
            other is not node and other.graph is not None and other.name == node.name
            for other in self._nodes_by_name[node.name]
        ):
            node.name, number = f"{stem}_{number}", number + 1
        if node.name:
            self._nodes_by_name[node.name].add(node)

    def set_constant(self, node: ir.Node, index: int, array: np.ndarray, stem: str) -> None:
        """Make input ``index`` of ``node`` the constant ``array``, in the type it had.

        A constant that it alone reads is overwritten; else ``node`` reads a new initializer, called ``stem`` or like it.
        """
        old = node.inputs[index] if index < len(node.inputs) else None
        tensor = get_const_tensor(old)
        if tensor is not None:
            array = array.astype(tensor.dtype.numpy(), copy=False)
        if old is not None and tensor is not None and len(old.uses()) == 1 and not old.is_graph_output():
            overwrite(old, array)
        else:
            self.replace_input(node, index, self.add_initializer(stem, array))

    def replace_input(self, node: ir.Node, index: int, new: ir.Value) -> None:
        """Let ``node`` read ``new`` as its input ``index``, which it may not have had; what only it read goes."""
        old = node.inputs[index] if index < len(node.inputs) else None
        node.resize_inputs(max(index + 1, len(node.inputs)))
        node.replace_input_with(index, new)
        if old is not None:
            self.remove_unread([old])

    def replace_value(self, old: ir.Value, new: ir.Value, *, is_new: bool) -> None:
        """Let whoever reads or returns ``old`` read or return ``new``.

        Args:
            old: It stays, unread.
            new: It takes the name of ``old`` if that is an output of the graph, and the type and shape if it has none.
            is_new: Whether nobody knows ``new`` by name yet: then it takes name, type and shape in any case.
        """
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

    def replace_node(self, old: ir.Node, new: ir.Value) -> None:
        """Let the node that makes ``new`` take the place and the name of ``old``, which has one output and goes."""
        self.replace_value(old.outputs[0], new, is_new=True)
        self.remove_unread([old])
        producer = new.producer()
        assert producer is not None
        producer.name = old.name
        self._assign_node_name(producer)

    def replace_output(self, old: ir.Value, new: ir.Value, stem: str) -> None:
        """Let the graph return ``new`` under the name of ``old``, which its readers go on to read, called ``stem``."""
        name = str(old.name)
        self.rename(old, stem)
        self.rename(new, name)
        new.doc_string = old.doc_string
        for index, output in enumerate(list(self.graph.outputs)):
            if output is old:
                self.graph.outputs[index] = new

    def remove_unread(self, items: Iterable[ir.Node | ir.Value]) -> list[ir.Node]:
        """Remove those nodes and initializers that nothing reads or returns, and what only they read.

        Args:
            items: Nodes, or values: of a value the initializer, or the node that makes it. What a caller may feed stays.

        Returns:
            Nodes that have become the only reader of something.
        """
        stack, neighbors, names = list(items), dict[ir.Node, None](), self._names
        while stack:
            item = stack.pop()
            node = item.producer() if isinstance(item, ir.Value) else item
            if node is None and isinstance(item, ir.Value):
                if item.is_initializer() and not (item.uses() or item.is_graph_output() or item.is_graph_input()):
                    names[str(item.name)] -= 1
                    assert item.graph is not None
                    del item.graph.initializers[str(item.name)]
                continue
            if node is None or node.graph is None or any(out.uses() or out.is_graph_output() for out in node.outputs):
                continue
            read_values = list(dict.fromkeys(iter_reads(node)))
            detach(node)
            node.graph.remove(node)
            names.subtract(str(output.name) for output in node.outputs)
            stack.extend(read_values)
            for value in read_values:
                if len(value.uses()) == 1:
                    neighbors.update(dict.fromkeys(value.consumers()))
        return list(neighbors)

    def remove_all_unread(self) -> int:
        """Remove every node and initializer that nothing reads; returns how many went."""
        nodes, initializers = list(walk(self.graph)), list(self.graph.initializers.values())
        self.remove_unread([*initializers, *reversed(nodes)])
        return len(nodes) + len(initializers) - sum(node.graph is not None for node in nodes) - len(self.graph.initializers)


def overwrite(value: ir.Value, array: np.ndarray) -> None:
    """Give the constant ``value`` another array, for all who read it."""
    tensor = ir.tensor(np.asarray(array, order="C"), name=value.name)
    producer = value.producer()
    if producer is None:
        value.const_value = tensor
    else:
        producer.attributes.clear()
        producer.attributes["value"] = ir.AttrTensor("value", tensor)
    value.shape = ir.Shape(array.shape)


def detach(node: ir.Node) -> None:
    """Stop ``node``, and every node inside its graphs, from being a reader of anything."""
    for graph in iter_subgraphs(node):
        for inner in list(walk(graph, iter_subgraphs)):
            for index in range(len(inner.inputs)):
                inner.replace_input_with(index, None)
    for index in range(len(node.inputs)):
        node.replace_input_with(index, None)


def graph_of(node: ir.Node) -> ir.Graph | ir.Function:
    """The graph that holds ``node``."""
    assert node.graph is not None
    return node.graph
