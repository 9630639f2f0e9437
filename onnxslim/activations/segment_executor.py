"""Walking through a model with all samples at hand, so that visiting every layer costs about one run, not one each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.traversal import iter_reads
from onnxslim.model_io import model_file
from onnxslim.runtime.parallel import FeedIterable, run_all
from onnxslim.runtime.session import SessionConfig

#: Samples in one run; large enough for the kernels, small enough for the activations.
BATCH_SIZE = 16
#: What a walk may hold, in bytes. Early feature maps are large and quick to compute again, late ones small and dear.
MAX_HELD_BYTES = 256_000_000


class SegmentExecutor:
    """Runs parts of a model, going on from what it holds of the nodes that are already behind.

    A *cut* after a node splits the graph; the tensors that cross it, of all samples, are held. A visit moves the cut to
    the last place before the visited node where they fit in ``max_held_bytes``, and runs from there.

    The weights of nodes that are still ahead may be changed between visits; those behind may not.

    Args:
        model: The model; read again at every visit.
        samples: What it is fed with.
        config: How it runs.
        max_held_bytes: What may be held.
        shared: Another walk with the same samples that has visited nothing yet: what it has read is not read again.
    """

    def __init__(
        self,
        model: ir.Model,
        samples: Samples,
        config: SessionConfig,
        max_held_bytes: int = MAX_HELD_BYTES,
        shared: SegmentExecutor | None = None,
    ) -> None:
        self._model, self._samples, self._config, self._max_held_bytes = model, samples, config, max_held_bytes
        self._nodes = list(model.graph)
        self._cut_position = -1
        self._held_batches: list[tuple[range, dict[str, np.ndarray]]] | None = None
        self._crossing_names = _find_crossing(self._nodes, shapes.get_required_inputs(model))
        self._batch_bytes = self._tensor_bytes()
        if shared is not None:
            self._held_batches = shared._held_batches
        elif self._fits(self._crossing_names[0]):
            self._held_batches = list(self._batches())

    @property
    def sample_count(self) -> int:
        """How many samples it goes through."""
        return len(self._samples)

    def _fits(self, names: Sequence[str]) -> bool:
        """Whether these tensors of all samples may be held."""
        batches = max(len(self._samples), 1) / BATCH_SIZE
        return batches * sum(self._batch_bytes.get(name, np.inf) for name in names) <= self._max_held_bytes

    def run_segment(
        self, position: int, names: Sequence[str], model: ir.Model | None = None
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        """The tensors called ``names`` for every batch, with the samples' positions.

        Args:
            position: Of the node that is visited, in the graph; a later visit may not go back before it.
            names: Tensors that cross into that node or are computed later.
            model: Another model to run on from here, equal to this one before ``position``.
        """
        self.advance(position)
        return self._run(model or self._model, self._crossing_names[self._cut_position + 1], names)

    def advance(self, position: int) -> None:
        """Move the cut as near before the node at ``position`` as memory allows."""
        for decision in range(position - 1, self._cut_position, -1):
            if self._fits(self._crossing_names[decision + 1]):
                crossing = self._crossing_names[decision + 1]
                held_batches = list(self._run(self._model, self._crossing_names[self._cut_position + 1], crossing))
                self._held_batches, self._cut_position = held_batches, decision
                return

    def _run(
        self, model: ir.Model, given: Sequence[str], names: Sequence[str]
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        computed = [name for name in dict.fromkeys(names) if name not in given]
        if not computed:
            for indices, feeds in self._batches():
                yield indices, {name: feeds[name] for name in names}
            return
        examples = self._held_batches[0][1] if self._held_batches else {}
        segment = extract_segment(model, given, computed, examples)
        pending: deque[tuple[range, dict[str, np.ndarray]]] = deque()

        def inputs() -> Iterator[dict[str, np.ndarray]]:
            for indices, feeds in self._batches():
                pending.append((indices, {name: feeds[name] for name in names if name in given}))
                yield feeds

        for outputs in run_extracted(segment, inputs(), self._config):
            indices, passed_through = pending.popleft()
            yield indices, passed_through | outputs

    def _batches(self) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        if self._held_batches is not None:
            yield from self._held_batches
            return
        for batch in self._samples.batches(BATCH_SIZE):
            yield batch.indices, dict(batch)

    def _tensor_bytes(self) -> dict[str, int]:
        """Bytes of each tensor in one batch, where shape inference can tell."""
        first_batch = next(iter(self._samples.batches(BATCH_SIZE)))
        bound_model = model_file.clone(self._model)
        for value in bound_model.graph.inputs:
            if (input_array := first_batch.get(value.name or "")) is not None:
                value.shape = ir.Shape(input_array.shape)
        for node in bound_model.graph.all_nodes():
            for output in node.outputs:
                output.shape = None
        shapes.infer(bound_model)
        values = [*bound_model.graph.inputs, *(output for node in bound_model.graph for output in node.outputs)]
        return {str(value.name): size for value in values if (size := shapes.get_nbytes(value)) is not None}


def extract_segment(
    model: ir.Model, given: Sequence[str], names: Sequence[str], examples: Mapping[str, np.ndarray] = MappingProxyType({})
) -> ir.Model:
    """What computes ``names`` from ``given``, whose undeclared types are those of ``examples``; the graph is a copy."""
    graph = ir.convenience.extract(model.graph, list(given), list(names))
    used = [value for value in graph.inputs if value.uses()]
    graph.inputs.clear()
    graph.inputs.extend(used)
    declared = {value.name for value in model.graph.inputs}
    for value in used:
        if (array := examples.get(value.name or "")) is not None and value.name not in declared:
            value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
            value.shape = ir.Shape([None] * array.ndim)
    return ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))


def run_extracted(segment: ir.Model, held: FeedIterable, config: SessionConfig) -> Iterator[dict[str, np.ndarray]]:
    """What ``segment`` computes of each batch of tensors in ``held``, where it finds its inputs among others."""
    names = [str(value.name) for value in segment.graph.inputs]
    feeds = ({name: tensors[name] for name in names if name in tensors} for tensors in held)
    return run_all(segment, feeds, lambda _, outputs: outputs, config)


def _find_crossing(nodes: Sequence[ir.Node], inputs: Sequence[ir.Value]) -> list[list[str]]:
    """For each cut (before node 0, before node 1, …, after the last): names of the tensors that cross it, in order."""
    last_reader: dict[ir.Value, int] = {}
    for position, node in enumerate(nodes):
        for value in iter_reads(node):
            last_reader[value] = position
    alive = list(inputs)
    cuts = [[str(value.name) for value in alive if value in last_reader]]
    for position, node in enumerate(nodes):
        alive += [value for value in node.outputs if get_const_tensor(value) is None]
        alive = [value for value in alive if last_reader.get(value, -1) > position]
        cuts.append([str(value.name) for value in alive])
    return cuts
