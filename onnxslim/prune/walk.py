"""Walking through a model with all samples at hand, so that visiting every layer costs about one run, not one each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.graph import shapes
from onnxslim.graph.constants import tensor
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig

#: Samples in one run; large enough for the kernels, small enough for the activations.
BATCH = 16
#: What a walk may hold, in bytes. Early feature maps are large and quick to compute again, late ones small and dear.
HELD = 256_000_000


_NUMBERS = frozenset(ir.DataType) - {ir.DataType.UNDEFINED, ir.DataType.STRING}


class Walk:
    """Runs parts of a model, going on from what it holds of the nodes that are already behind.

    A *cut* after a node splits the graph; the tensors that cross it, of all samples, are held. A visit moves the cut to
    the last place before the visited node where they fit in ``held`` bytes, and runs from there.

    The weights of nodes that are still ahead may be changed between visits; those behind may not.

    Args:
        model: The model; read again at every visit.
        samples: What it is fed with.
        config: How it runs.
        held: Bytes that may be held.
        like: Another walk with the same samples that has visited nothing yet: what it has read is not read again.
    """

    def __init__(
        self,
        model: ir.Model,
        samples: Samples,
        config: SessionConfig,
        held: int = HELD,
        like: Walk | None = None,
    ) -> None:
        self._model, self._samples, self._config, self._held = model, samples, config, held
        self._nodes = list(model.graph)
        self._cut = -1
        self._state: list[tuple[range, dict[str, np.ndarray]]] | None = None
        self._crossing = _crossing(self._nodes, shapes.inputs(model))
        self._bytes = self._sizes()
        if like is not None:
            self._state = like._state
        elif self._fits(self._crossing[0]):
            self._state = list(self._batches())

    @property
    def samples(self) -> int:
        """How many samples it goes through."""
        return len(self._samples)

    def _fits(self, names: Sequence[str]) -> bool:
        """Whether these tensors of all samples may be held."""
        batches = max(len(self._samples), 1) / BATCH
        return batches * sum(self._bytes.get(name, np.inf) for name in names) <= self._held

    def visit(
        self, position: int, names: Sequence[str], model: ir.Model | None = None
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        """The tensors called ``names`` for every batch, with the samples' positions.

        Args:
            position: Of the node that is visited, in the graph; a later visit may not go back before it.
            names: Tensors that cross into that node or are computed later.
            model: Another model to run on from here, equal to this one before ``position``.
        """
        self.advance(position)
        return self._run(model or self._model, self._crossing[self._cut + 1], names)

    def advance(self, position: int) -> None:
        """Move the cut as near before the node at ``position`` as memory allows."""
        for cut in range(position - 1, self._cut, -1):
            if self._fits(self._crossing[cut + 1]):
                wanted = self._crossing[cut + 1]
                state = list(self._run(self._model, self._crossing[self._cut + 1], wanted))
                self._state, self._cut = state, cut
                return

    def _run(
        self, model: ir.Model, given: Sequence[str], names: Sequence[str]
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        computed = [name for name in dict.fromkeys(names) if name not in given]
        if not computed:
            for indices, feeds in self._batches():
                yield indices, {name: feeds[name] for name in names}
            return
        held = self._state[0][1] if self._state else {}
        part = _part(model, given, computed, held)
        read = [str(value.name) for value in part.graph.inputs]
        behind: deque[tuple[range, dict[str, np.ndarray]]] = deque()

        def inputs() -> Iterator[dict[str, np.ndarray]]:
            for indices, feeds in self._batches():
                behind.append((indices, {name: feeds[name] for name in names if name in given}))
                yield {name: feeds[name] for name in read if name in feeds}

        for outputs in run_all(part, inputs(), lambda _, found: found, self._config):
            indices, known = behind.popleft()
            yield indices, known | outputs

    def _batches(self) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        if self._state is not None:
            yield from self._state
            return
        for batch in self._samples.batches(BATCH):
            yield batch.indices, dict(batch)

    def _sizes(self) -> dict[str, float]:
        """Bytes of each tensor in one batch, where shape inference can tell."""
        first = next(iter(self._samples.batches(BATCH)))
        bound = io.clone(self._model)
        for value in bound.graph.inputs:
            if (fed := first.get(value.name or "")) is not None:
                value.shape = ir.Shape(fed.shape)
        for node in bound.graph.all_nodes():
            for output in node.outputs:
                output.shape = None
        shapes.infer(bound)
        found: dict[str, float] = {}
        for value in [*bound.graph.inputs, *(output for node in bound.graph for output in node.outputs)]:
            sizes = shapes.static(value)
            if sizes is not None and isinstance(value.type, ir.TensorType) and value.dtype in _NUMBERS:
                found[str(value.name)] = float(np.prod(sizes, dtype=np.float64)) * value.type.dtype.itemsize
        return found


def _part(model: ir.Model, given: Sequence[str], names: Sequence[str], held: Mapping[str, np.ndarray]) -> ir.Model:
    """What computes ``names`` from ``given``, of which ``held`` are examples."""
    graph = ir.convenience.extract(model.graph, list(given), list(names))
    used = [value for value in graph.inputs if value.uses()]
    graph.inputs.clear()
    graph.inputs.extend(used)
    declared = {value.name for value in model.graph.inputs}
    for value in used:
        if (array := held.get(value.name or "")) is not None and value.name not in declared:
            value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
            value.shape = ir.Shape([None] * array.ndim)
    return ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))


def reads(node: ir.Node) -> Iterator[ir.Value]:
    """The values that ``node`` reads, those that its subgraphs capture included."""
    for value in node.inputs:
        if value is not None:
            yield value
    for attribute in node.attributes.values():
        graphs = []
        if attribute.type == ir.AttributeType.GRAPH:
            graphs = [attribute.as_graph()]
        elif attribute.type == ir.AttributeType.GRAPHS:
            graphs = list(attribute.as_graphs())
        for graph in graphs:
            for inner in graph:
                yield from reads(inner)


def _crossing(nodes: Sequence[ir.Node], inputs: Sequence[ir.Value]) -> list[list[str]]:
    """For each cut (before node 0, before node 1, …, after the last): names of the tensors that cross it, in order."""
    last: dict[ir.Value, int] = {}
    for position, node in enumerate(nodes):
        for value in reads(node):
            last[value] = position
    alive = list(inputs)
    cuts = [[str(value.name) for value in alive if value in last]]
    for position, node in enumerate(nodes):
        alive += [value for value in node.outputs if tensor(value) is None]
        alive = [value for value in alive if last.get(value, -1) > position]
        cuts.append([str(value.name) for value in alive])
    return cuts
