"""float16 with the ops that need it kept in float32; what pays on the CUDA provider, where int8 does not.

Inputs and outputs of the model keep float32 and their names; a Cast stands wherever a tensor passes between the halves.
Bodies of If, Loop and Scan are converted like the graph around them. What they take and give keeps its type: a loop adds up
in what it carries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import iter_bodies, iter_subgraphs, walk, walk_graphs
from onnxslim.quantization.float16.float32_nodes import allows_float16, get_schema, has_floats, is_float

#: Outputs whose type an attribute says, and the attribute.
_DTYPE_ATTRIBUTES = {"Cast": "to", "ConstantOfShape": "value"}


class Float16Converter:
    """Converts every float node, of bodies too, but those of ``float32_nodes``, in place, producers before readers."""

    def __init__(self, model: ir.Model, float32_nodes: Mapping[ir.Node, str]) -> None:
        self.model, self.float32_nodes, self.editor = model, float32_nodes, GraphEditor(model.graph)
        self.halved: set[ir.Value] = set()  # what was float32 and is float16
        self.float16_twins: dict[ir.Value, ir.Value] = {}  # float32 tensor -> its float16 twin
        self.float32_twins: dict[ir.Value, ir.Value] = {}  # float16 tensor -> its float32 twin

    def run(self) -> Counter[str]:
        """How many nodes became what."""
        graph = self.model.graph
        counts = self._convert_graph(graph)
        for value in dict.fromkeys(graph.outputs):
            if value in self.halved:  # the model's outputs stay in float32
                cast = self.editor.add_cast(value, ir.DataType.FLOAT, name=f"{value.name}_float32")
                self.editor.replace_output(value, cast, f"{value.name}_half")
        self.editor.remove_unread(value for inner in self.model.graphs() for value in list(inner.initializers.values()))
        return counts

    def _convert_graph(self, graph: ir.Graph) -> Counter[str]:
        counts: Counter[str] = Counter()
        for node in list(graph):
            if node in self.float32_nodes:  # whatever its inputs have become by now
                self._feed_float32(node)
                counts["nodes kept in float32"] += 1
            elif bodies := list(iter_bodies(node)):
                self._feed_node(node)
                for body in bodies:
                    counts += self._convert_graph(body)
                    self._give_float32(body)
            elif has_floats(node):
                self._convert(node)
                counts["nodes in float16"] += 1
        return counts

    def _convert(self, node: ir.Node) -> None:
        schema = get_schema(node, self.model)
        assert schema is not None
        for index, value in enumerate(node.inputs):
            if value is not None and is_float(value) and allows_float16(schema, index, False):
                node.replace_input_with(index, self._as_float16(value))
            elif value is not None and value in self.halved and not allows_float16(schema, index, False):
                node.replace_input_with(index, self._as_float32(value))
        self._retype(node)
        for output in node.outputs:
            if is_float(output):
                output.type = ir.TensorType(ir.DataType.FLOAT16)
                self.halved.add(output)

    def _retype(self, node: ir.Node) -> None:
        """The attribute that names the type of the output."""
        name = _DTYPE_ATTRIBUTES.get(node.op_type)
        if name is None:
            return
        if node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT:
            node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT16))
        elif node.op_type == "ConstantOfShape":
            old = node.attributes.get(name)
            array = np.zeros(1, np.float32) if old is None else old.as_tensor().numpy()
            if array.dtype == np.float32:
                node.attributes[name] = ir.AttrTensor(name, ir.tensor(array.astype(np.float16)))

    def _feed_float32(self, node: ir.Node) -> None:
        """Give a node that stays, and its graphs, the float32 twins of what is float16 by now."""
        for reader in walk([node], iter_subgraphs):
            self._feed_node(reader)
        for body in (inner for graph in iter_subgraphs(node) for inner in walk_graphs(graph, iter_subgraphs)):
            self._give_float32(body)

    def _feed_node(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value in self.halved:
                node.replace_input_with(index, self._as_float32(value))

    def _give_float32(self, body: ir.Graph) -> None:
        """Let ``body`` give out float32 where it did."""
        for index, value in enumerate(list(body.outputs)):
            if value in self.halved:
                body.outputs[index] = self._as_float32(value)

    def _as_float16(self, value: ir.Value) -> ir.Value:
        if value not in self.float16_twins:
            array = get_const_array(value)
            if array is not None:
                self.float16_twins[value] = self.editor.add_initializer(f"{value.name}_float16", array.astype(np.float16))
            else:
                self.float16_twins[value] = self._cast(value, ir.DataType.FLOAT16)
        return self.float16_twins[value]

    def _as_float32(self, value: ir.Value) -> ir.Value:
        if value not in self.float32_twins:
            self.float32_twins[value] = self._cast(value, ir.DataType.FLOAT)
        return self.float32_twins[value]

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """``value`` as ``dtype``, made where ``value`` is: whoever sees the one sees the other, in bodies too."""
        name, producer = f"{value.name}_{'float16' if dtype == ir.DataType.FLOAT16 else 'float32'}", value.producer()
        owner = self.model.graph if value.graph is None else value.graph
        return self.editor.add_cast(
            value, dtype, before=None if producer is not None else owner[0], after=producer, name=name
        )
