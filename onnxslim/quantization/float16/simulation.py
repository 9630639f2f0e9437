"""What a provider that computes in float16 gives, told on one that does not.

The CPU provider has few float16 kernels: it computes most ops in float32, and leaves out the casts between them, so that a
float16 model hardly loses anything there. Here every tensor that would be float16 is rounded to it, by a Cast there and a
Cast back, which the runtime keeps because they lose something. What a kernel adds up inside stays float32, as on the device.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import iter_bodies, iter_subgraphs, walk, walk_graphs
from onnxslim.quantization.float16.float32_nodes import allows_float16, get_schema, has_floats, is_float


def simulate_float16(model: ir.Model, float32_nodes: Collection[ir.Node]) -> None:
    """Round what the float nodes of ``model`` read and give to float16, in place, but for ``float32_nodes``."""
    rounding = _Rounding(model)
    whole = {inner for node in float32_nodes for graph in iter_subgraphs(node) for inner in walk(graph, iter_subgraphs)}
    for graph in list(walk_graphs(model.graph)):
        for node in list(graph):
            if node not in float32_nodes and node not in whole and has_floats(node) and not any(iter_bodies(node)):
                rounding.apply(node)


class _Rounding:
    def __init__(self, model: ir.Model) -> None:
        self._model, self._editor = model, GraphEditor(model.graph)
        self._rounded: dict[ir.Value, ir.Value] = {}

    def apply(self, node: ir.Node) -> None:
        schema = get_schema(node, self._model)
        if schema is None:
            return
        for index, value in enumerate(node.inputs):
            if value is not None and is_float(value) and allows_float16(schema, index, False):
                node.replace_input_with(index, self._round(value))
        for output in node.outputs:
            if is_float(output) and (output.uses() or output.is_graph_output()):
                half = self._editor.add_cast(output, ir.DataType.FLOAT16, after=node, name=f"{node.name}_rounded")
                cast = half.producer()
                rounded = self._editor.add_cast(half, ir.DataType.FLOAT, after=cast, name=f"{node.name}_rounded")
                self._editor.replace_value(output, rounded, is_new=True)
                assert cast is not None
                cast.replace_input_with(0, output)
                self._rounded[rounded] = rounded

    def _round(self, value: ir.Value) -> ir.Value:
        if value not in self._rounded:
            array = get_const_array(value)
            if array is None:
                self._rounded[value] = self._add_casts(value)
            else:
                with np.errstate(over="ignore"):
                    halves = array.astype(np.float16).astype(np.float32)
                self._rounded[value] = self._editor.add_initializer(f"{value.name}_rounded", halves)
        return self._rounded[value]

    def _add_casts(self, value: ir.Value) -> ir.Value:
        producer = value.producer()
        owner = self._model.graph if value.graph is None else value.graph
        before = None if producer is not None else owner[0]
        name = f"{value.name}_rounded"
        half = self._editor.add_cast(value, ir.DataType.FLOAT16, before=before, after=producer, name=name)
        return self._editor.add_cast(half, ir.DataType.FLOAT, after=half.producer(), name=name)
