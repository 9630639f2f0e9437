"""One pass of data through a model that shows its inner tensors: as they are, or reduced inside the graph to few numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.signature import tap_outputs
from onnxslim.runtime.parallel import FeedIterable, run_all
from onnxslim.runtime.session import SessionConfig

T = TypeVar("T")


def observe(
    model: ir.Model,
    names: Iterable[str],
    feeds: FeedIterable,
    measure: Callable[[int, str, np.ndarray], T],
    config: SessionConfig,
) -> dict[str, list[T]]:
    """What ``measure`` makes of each tensor on each of ``feeds``, in their order.

    Args:
        model: It is not changed.
        names: Tensors of the main graph.
        feeds: Inputs.
        measure: Called with the position of the feed, the name, and the tensor; several threads call it at a time. What it
            returns is held, so it must be a copy.
        config: Where to run.
    """
    names = list(dict.fromkeys(names))

    def measure_all(index: int, tensors: dict[str, np.ndarray]) -> list[T]:
        return [measure(index, name, tensors[name]) for name in names]

    rows = list(run_all(tap_outputs(model, names, only=True), feeds, measure_all, config)) if names else []
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=False)}


def sum_channels(array: np.ndarray, axis: int) -> np.ndarray:
    """How many values each channel along ``axis`` has, their sum and that of their squares: float64 (3, C).

    Those of several batches add up.
    """
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float64)
    return np.stack([np.full(len(rows), float(rows.shape[1])), rows.sum(axis=1), np.square(rows).sum(axis=1)])


class ObservedModel:
    """A copy of a model whose outputs are what ops that are appended to it make of its tensors.

    Args:
        model: It is not changed.
        keep_outputs: Whether its own outputs stay outputs.
    """

    def __init__(self, model: ir.Model, *, keep_outputs: bool = False) -> None:
        self._model = model.clone()
        graph = self._graph = self._model.graph
        if not keep_outputs:
            graph.outputs.clear()
        self._original_nodes = list(graph)
        #: Of each node that was appended, the node of the model (by position, -1: none) that it can run right behind.
        self._roots = {node: position for position, node in enumerate(self._original_nodes)}
        self._tails: dict[int, ir.Node] = {}
        self.values = {str(value.name): value for value in graph.inputs}
        self.values.update({str(value.name): value for node in graph for value in node.outputs})

    def add_input(self, name: str, shape: Sequence[int]) -> ir.Value:
        """A float32 input that the model did not have."""
        self._graph.inputs.append(ir.Value(name=name, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(shape)))
        return self._graph.inputs[-1]

    def append(
        self, op: str, *inputs: ir.Value | np.ndarray | Sequence[int] | int, **attributes: int | list[int]
    ) -> ir.Value:
        """The output of a new node; numbers among its inputs become int64 constants: a scalar of a number, else 1-D; an
        array is a constant of its own type.
        """
        node = ir.node(op, [x if isinstance(x, ir.Value) else self._add_constant(x) for x in inputs], attributes)
        self._insert_early(node)
        return node.outputs[0]

    def _insert_early(self, node: ir.Node) -> None:
        """Right behind what it reads, so that no tensor of the model is held for it until all of the model has run."""
        producers = (value.producer() for value in node.inputs if value is not None)
        root = max((self._roots[producer] for producer in producers if producer is not None), default=-1)
        tail = self._tails.get(root) or (self._original_nodes[root] if root >= 0 else None)
        if tail is not None:
            self._graph.insert_after(tail, node)
        elif self._original_nodes:
            self._graph.insert_before(self._original_nodes[0], node)
        else:
            self._graph.append(node)
        self._roots[node], self._tails[root] = root, node

    def append_reduction(self, op: str, value: ir.Value, axes: Sequence[int] = ()) -> ir.Value:
        """``value`` reduced over ``axes``, all by default; they became an input of most reductions with opset 18."""
        if not axes:
            return self.append(op, value, keepdims=0)
        if (self._model.opset_imports.get("") or 0) < 18:
            return self.append(op, value, keepdims=0, axes=list(axes))
        return self.append(op, value, axes, keepdims=0)

    def add_output(self, value: ir.Value, name: str, dtype: ir.DataType | None) -> None:
        """Make ``value``, which was appended, an output called ``name``."""
        if value.is_graph_output():
            value = self.append("Identity", value)
        value.name, value.dtype = name, dtype or ir.DataType.FLOAT
        self._graph.outputs.append(value)

    def run(
        self, feeds: FeedIterable, reduce: Callable[[int, dict[str, Any]], T], config: SessionConfig | None
    ) -> Iterator[T]:
        """What ``reduce`` makes of the outputs of each feed, in their order (:func:`~onnxslim.runtime.parallel.run_all`)."""
        GraphEditor(self._graph).remove_all_unread()
        return run_all(self._model, feeds, reduce, (config or SessionConfig()).with_(is_lean=True))

    def _add_constant(self, values: np.ndarray | Sequence[int] | int) -> ir.Value:
        """A constant, int64 unless it is an array, shared by all who ask for the same."""
        array = values if isinstance(values, np.ndarray) else np.asarray(values, np.int64)
        kind = "" if array.dtype == np.int64 else f"{array.dtype.name}_"
        name = f"observed__{kind}{array.ndim}d_" + "_".join(map(str, array.reshape(-1).tolist()))
        if name not in self._graph.initializers:
            ir.tape.Tape(self._graph).initializer(ir.tensor(array, name=name))
        return self._graph.initializers[name]
