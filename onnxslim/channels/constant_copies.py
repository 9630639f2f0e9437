"""Constants changed without touching those who read the old ones."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph import constants


class ConstantEditor:
    """Writes constants of one model's main graph.

    Args:
        model: Changed in place.
    """

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._names = {value.name for graph in model.graphs() for value in _list_values(graph)}

    def add_initializer(self, array: np.ndarray, like: str) -> ir.Value:
        """A new initializer, named after ``like``."""
        name = self.make_unique_name(like)
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        self._graph.register_initializer(value)
        return value

    def overwrite(self, value: ir.Value, array: np.ndarray) -> None:
        """Give constant ``value`` another array, for all who read it."""
        tensor = ir.tensor(array, name=value.name)
        producer = value.producer()
        if producer is None:
            value.const_value = tensor
        else:
            producer.attributes.clear()
            producer.attributes["value"] = ir.AttrTensor("value", tensor)
        value.shape = ir.Shape(array.shape)

    def replace_input(self, node: ir.Node, i: int, array: np.ndarray) -> None:
        """Give ``node`` another array as its constant input ``i``; other readers keep the old one."""
        value = node.inputs[i]
        assert value is not None
        array = array.astype(_numpy_dtype(value), copy=False)
        if len(value.uses()) == 1 and not value.is_graph_output():
            self.overwrite(value, array)
        else:
            node.replace_input_with(i, self.add_initializer(array, f"{value.name}_kept"))

    def make_unique_name(self, like: str) -> str:
        """A name that no value has, like ``like``."""
        name, number = like, 0
        while name in self._names:
            name, number = f"{like}_{number + 1}", number + 1
        self._names.add(name)
        return name


def _numpy_dtype(value: ir.Value) -> np.dtype[np.generic]:
    tensor = constants.get_const_tensor(value)
    assert tensor is not None
    return tensor.dtype.numpy()


def _list_values(graph: ir.Graph) -> list[ir.Value]:
    return [*graph.inputs, *graph.initializers.values(), *(value for node in graph for value in node.outputs)]
