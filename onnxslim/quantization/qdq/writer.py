"""New nodes in an old graph: names that are free, types and shapes kept, in front of whoever reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir


class GraphWriter:
    """Adds nodes and initializers to one model, in place.

    Args:
        model: Edited; every new name is one that it does not have, in bodies neither.
    """

    def __init__(self, model: ir.Model) -> None:
        self.model = model
        self._taken = {name for graph in model.graphs() for name in graph.initializers}
        self._taken |= {str(value.name) for graph in model.graphs() for value in graph.inputs}
        self._taken |= {str(output.name) for node in model.graph.all_nodes() for output in node.outputs}

    def make_unique_name(self, stem: str) -> str:
        """``stem``, or a free name like it."""
        name, count = stem, 1
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name

    def add_initializer(self, stem: str, array: np.ndarray, dtype: ir.DataType | None = None) -> ir.Value:
        """An initializer of the main graph, which bodies can read too."""
        name = self.make_unique_name(stem)
        contiguous = np.ascontiguousarray(array) if array.ndim else array
        tensor = ir.tensor(contiguous, name=name) if dtype is None else ir.tensor(contiguous, dtype, name=name)
        shape = ir.Shape(tensor.shape.numpy())
        value = ir.Value(name=name, const_value=tensor, shape=shape, type=ir.TensorType(tensor.dtype))
        self.model.graph.register_initializer(value)
        return value

    def insert_before(
        self,
        reader: ir.Node,
        op: str,
        *inputs: ir.Value | None,
        name: str,
        outputs: int = 1,
        dtype: ir.DataType | None = None,
        shape: ir.Shape | None = None,
        domain: str = "",
        attributes: dict[str, Any] | None = None,
    ) -> ir.Node:
        """A node in front of ``reader``, in its graph; ``dtype`` and ``shape`` are of the first output."""
        node = ir.node(op, list(inputs), attributes, domain=domain, num_outputs=outputs, name=name)
        for index, output in enumerate(node.outputs):
            output.name = self.make_unique_name(f"{name}_{index}" if outputs > 1 else f"{name}_output")
        node.outputs[0].shape = shape
        if dtype is not None:
            node.outputs[0].dtype = dtype
        graph = reader.graph
        assert graph is not None
        graph.insert_before(reader, node)
        return node

    def insert_float_cast(self, reader: ir.Node, value: ir.Value, *, name: str, shape: ir.Shape | None = None) -> ir.Value:
        """``value`` cast to float32 in front of ``reader``."""
        to = {"to": ir.DataType.FLOAT}
        return self.insert_before(
            reader, "Cast", value, name=name, attributes=to, dtype=ir.DataType.FLOAT, shape=shape
        ).outputs[0]

    def replace_node(self, old: ir.Node, new: ir.Node) -> None:
        """``new`` gets the output, the name of the output and the place in the graph's outputs of ``old``, which goes."""
        old_output, new_output = old.outputs[0], new.outputs[0]
        name = old_output.name
        new_output.type, new_output.shape, new_output.doc_string = old_output.type, old_output.shape, old_output.doc_string
        old_output.replace_all_uses_with(new_output, replace_graph_outputs=True)
        graph = old.graph
        assert graph is not None
        graph.remove(old, safe=True)
        new_output.name = name


def remove_unused_values(model: ir.Model, *values: ir.Value) -> None:
    """Remove those of ``values`` that nothing reads any more, and Transposes of them."""
    for value in values:
        for use in list(value.uses()):
            node = use.node
            if node.op_type == "Transpose" and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                assert node.graph is not None
                node.graph.remove(node, safe=True)
        if value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        producer = value.producer()
        if producer is not None:
            assert producer.graph is not None
            producer.graph.remove(producer, safe=True)
            continue
        for graph in model.graphs():
            if graph.initializers.get(str(value.name)) is value:
                del graph.initializers[str(value.name)]
                break
