"""Walking through a model with all samples at hand, so that visiting every layer costs about one run, not one each."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from onnxslim.activations.read_places import ReadPlaces, find_read_places
from onnxslim.activations.working_set import find_crossing, find_tensor_bytes, plan_batch_size
from onnxslim.core.memory_budget import scale_bytes
from onnxslim.data.samples import Samples
from onnxslim.graph import shapes
from onnxslim.graph.traversal import walk
from onnxslim.runtime.parallel import FeedIterable, run_all
from onnxslim.runtime.session import SessionConfig

#: Samples in one run, where their activations are small enough; large enough for the kernels.
BATCH_SIZE = 16
#: A list of more numbers than a tensor has axes is data, of which the next sample may have more.
_MAX_AXES = 8
#: What a walk may hold, in bytes. Early feature maps are large and quick to compute again, late ones small and dear.
MAX_HELD_BYTES = 112_000_000


class SegmentExecutor:
    """Runs parts of a model, going on from what it holds of the nodes that are already behind.

    A *cut* after a node splits the graph; the tensors that cross it, of all samples, are held. A visit moves the cut to
    the last place before the visited node where they fit in ``max_held_bytes``, and runs from there.

    The weights of nodes that are still ahead may be changed between visits; those behind may not.

    Args:
        model: The model; read again at every visit.
        samples: What it is fed with.
        config: How it runs.
        max_held_bytes: What may be held; by default a share of the memory that is planned with.
        shared: Another walk with the same samples that has visited nothing yet: what it has read is not read again, and both
            go through the same batches.
    """

    def __init__(
        self,
        model: ir.Model,
        samples: Samples,
        config: SessionConfig,
        max_held_bytes: int | None = None,
        shared: SegmentExecutor | None = None,
    ) -> None:
        self._model, self._samples, self._config, self._shared = model, samples, config, shared
        self._max_held_bytes = scale_bytes(MAX_HELD_BYTES) if max_held_bytes is None else max_held_bytes
        self._nodes = list(model.graph)
        self._cut_position = -1
        self._held_batches: list[tuple[range, dict[str, np.ndarray]]] | None = None
        self._crossing_names = find_crossing(self._nodes, shapes.get_required_inputs(model))
        self._batch_size: int = plan_batch_size(model, samples, BATCH_SIZE) if shared is None else shared._batch_size
        first_batch = next(iter(samples.batches(self._batch_size)))
        self._batch_bytes = find_tensor_bytes(model, first_batch)
        self._batch_count = len(samples) / max(len(first_batch.indices), 1)
        if shared is not None:
            self._held_batches = None if shared._held_batches is None else list(shared._held_batches)
        elif self._fits(self._crossing_names[0]):
            self._held_batches = list(self._batches())

    @property
    def sample_count(self) -> int:
        """How many samples it goes through."""
        return len(self._samples)

    @cached_property
    def read_places(self) -> ReadPlaces | None:
        """Which places of the samples anybody reads; None where no mask leaves any out."""
        if self._shared is not None:
            return self._shared.read_places
        return find_read_places(self._model, self._samples, self._config)

    def find_read(self, indices: range) -> np.ndarray | None:
        """Those of the samples at ``indices``, of one batch: bool (n, places)."""
        return None if self.read_places is None else self.read_places.get(indices)

    def _fits(self, names: Sequence[str]) -> bool:
        """Whether these tensors of all samples may be held."""
        return self._batch_count * sum(self._batch_bytes.get(name, np.inf) for name in names) <= self._max_held_bytes

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
                given = self._crossing_names[self._cut_position + 1]
                held_batches = [
                    (indices, copy_arrays(tensors))
                    for indices, tensors in self._run(self._model, given, crossing, is_last_use=True)
                ]
                self._held_batches, self._cut_position = held_batches, decision
                return

    def _run(
        self, model: ir.Model, given: Sequence[str], names: Sequence[str], *, is_last_use: bool = False
    ) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        """``names`` of every batch, computed from ``given``, which is held; let go of batch by batch in its last use."""
        computed = [name for name in dict.fromkeys(names) if name not in given]
        if not computed:
            for indices, feeds in self._batches(is_last_use):
                yield indices, {name: feeds[name] for name in names}
            return
        examples = self._held_batches[0][1] if self._held_batches else {}
        segment = extract_segment(model, given, computed, examples)
        pending: deque[tuple[range, dict[str, np.ndarray]]] = deque()

        def inputs() -> Iterator[dict[str, np.ndarray]]:
            for indices, feeds in self._batches(is_last_use):
                pending.append((indices, {name: feeds[name] for name in names if name in given}))
                yield feeds

        for outputs in run_extracted(segment, inputs(), self._config):
            indices, passed_through = pending.popleft()
            yield indices, passed_through | outputs

    def _batches(self, is_last_use: bool = False) -> Iterator[tuple[range, dict[str, np.ndarray]]]:
        if self._held_batches is not None:
            held = self._held_batches
            while held and is_last_use:
                yield held.pop(0)
            yield from held
            return
        for batch in self._samples.batches(self._batch_size):
            yield batch.indices, dict(batch)


def copy_arrays(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Copies to hold: the runtime's own outputs would keep the whole blocks of memory that they were cut from.

    A sequence stays the list that it is.
    """
    return {name: array.copy() if isinstance(array, np.ndarray) else array for name, array in tensors.items()}


def extract_segment(
    model: ir.Model, given: Sequence[str], names: Sequence[str], examples: Mapping[str, np.ndarray] = MappingProxyType({})
) -> ir.Model:
    """What computes ``names`` from ``given``, whose undeclared types are those of ``examples``; the graph is a copy."""
    graph = ir.convenience.extract(model.graph, list(given), list(names))
    used = [value for value in graph.inputs if value.uses()]
    graph.inputs.clear()
    graph.inputs.extend(used)
    declared = {value.name for value in model.graph.inputs}
    size_lists = _find_size_lists(graph)
    for value in used:
        array = examples.get(value.name or "")
        if isinstance(array, np.ndarray) and value.name not in declared:  # sequences keep the type that was inferred
            value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
            is_size_list = value in size_lists and array.ndim == 1 and len(array) <= _MAX_AXES
            value.shape = ir.Shape(array.shape if is_size_list else [None] * array.ndim)
    return ir.Model(graph, ir_version=model.ir_version, functions=list(model.functions.values()))


def _find_size_lists(graph: ir.Graph) -> set[ir.Value]:
    """What the ``sizes`` of a Resize are computed from, as far as the sizes of tensors.

    onnxruntime has to know how many there are before it runs; as many as the tensor has axes, whatever the sample.
    """
    waiting = [node.inputs[3] for node in walk(graph) if node.op_type == "Resize" and len(node.inputs) > 3]
    found: set[ir.Value] = set()
    while waiting:
        value = waiting.pop()
        if value is not None and value not in found:
            found.add(value)
            producer = value.producer()
            waiting += () if producer is None or producer.op_type in ("Shape", "Size") else producer.inputs
    return found


def run_extracted(segment: ir.Model, held: FeedIterable, config: SessionConfig) -> Iterator[dict[str, np.ndarray]]:
    """What ``segment`` computes of each batch of tensors in ``held``, where it finds its inputs among others."""
    names = [str(value.name) for value in segment.graph.inputs]
    feeds = ({name: tensors[name] for name in names if name in tensors} for tensors in held)
    return run_all(segment, feeds, lambda _, outputs: outputs, config)
