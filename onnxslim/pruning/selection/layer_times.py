"""Whose time it is: the runtime's own profile of a graph that it has rewritten, read as times of the layers that went in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from onnxslim.graph.layers import find_linear_layers
from onnxslim.runtime.node_profile import NodeTime


class LayerTimes:
    """What each layer of a graph took, whatever the runtime has made of it.

    The runtime names a fused node after a tensor or node that it swallowed, with something added; so the layer a fused
    node stands for is the first one ahead of, or at, what it is named after.

    Attributes:
        layers: Seconds by the layer's name.
        others: Seconds of everything that is no layer's.
    """

    def __init__(self, model: ir.Model, times: Mapping[str, NodeTime]) -> None:
        node_by_name: dict[str, ir.Node] = {}
        for node in model.graph:
            node_by_name |= dict.fromkeys([str(output.name) for output in node.outputs], node)
            if node.name:
                node_by_name[node.name] = node
        layer_nodes = {layer.node for layer in find_linear_layers(model.graph).values()}
        self.layers: dict[str, float] = {}
        self.others = 0.0
        for name, time in times.items():
            layer = _nearest_layer(node_by_name.get(_longest_known_prefix(name, node_by_name)), layer_nodes)
            if layer is None:
                self.others += time.seconds
            else:
                self.layers[str(layer.name)] = self.layers.get(str(layer.name), 0.0) + time.seconds

    def total_seconds(self, nodes: Iterable[str]) -> float:
        """Seconds of the layers among ``nodes``, and of everything that is no layer."""
        return self.others + sum(self.layers.get(name, 0.0) for name in nodes)


def _longest_known_prefix(name: str, known_names: Mapping[str, ir.Node]) -> str:
    """What of ``name`` the graph knows: its longest beginning, cut at underscores, any words before it left out."""
    name = name if name in known_names else name.rsplit(" ", 1)[-1]
    while name not in known_names and "_" in name:
        name = name.rsplit("_", 1)[0]
    return name


def _nearest_layer(node: ir.Node | None, layer_nodes: set[ir.Node]) -> ir.Node | None:
    """``node`` if it is a layer, else the layer right before it, through nodes that read one tensor only."""
    while node is not None and node not in layer_nodes:
        input_producers = [value.producer() for value in node.inputs if value is not None]
        producers = [producer for producer in input_producers if producer is not None and producer.op_type != "Constant"]
        node = producers[0] if len(producers) == 1 else None
    return node
