"""How much memory a run of a model takes, by the shapes of its tensors, and batches that keep below a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.traversal import iter_reads
from onnxslim.model_io import model_file

#: Bytes of tensors that are alive at once in one run of a batch. The runtime's pool of memory grows by doubling and keeps
#: what it has, so that it takes up to twice that, and several runs go on side by side.
MAX_RUN_BYTES = 64_000_000

#: What single models were found to need, by the shapes they are fed with: judges ask of the same few again and again.
_KNOWN: WeakKeyDictionary[ir.Model, dict[tuple[object, ...], int]] = WeakKeyDictionary()


def find_tensor_bytes(model: ir.Model, feed: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Bytes of each tensor while ``feed`` is run, by name, where shape inference can tell."""
    bound_model = model_file.clone(model)
    for value in bound_model.graph.inputs:
        if (input_array := feed.get(value.name or "")) is not None:
            value.shape = ir.Shape(input_array.shape)
    for node in bound_model.graph.all_nodes():
        for output in node.outputs:
            output.shape = None
    shapes.infer(bound_model)
    values = [*bound_model.graph.inputs, *(output for node in bound_model.graph for output in node.outputs)]
    return {str(value.name): size for value in values if (size := shapes.get_nbytes(value)) is not None}


def find_crossing(nodes: Sequence[ir.Node], inputs: Sequence[ir.Value]) -> list[list[str]]:
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


def estimate_peak_bytes(model: ir.Model, feed: Mapping[str, np.ndarray]) -> int:
    """The most bytes of tensors that are alive at once while ``feed`` is run.

    A tensor whose shape nobody infers counts as large as the largest that it is computed from.
    """
    key = tuple(sorted((name, np.shape(array)) for name, array in feed.items()))
    known = _KNOWN.setdefault(model, {})
    if key not in known:
        known[key] = _find_peak(model, find_tensor_bytes(model, feed))
    return known[key]


def _find_peak(model: ir.Model, tensor_bytes: dict[str, int]) -> int:
    nodes = list(model.graph)
    crossing = find_crossing(nodes, shapes.get_required_inputs(model))
    output_names = {str(value.name) for value in model.graph.outputs}
    output_bytes, peak = 0, 0
    for node, before, after in zip(nodes, crossing, crossing[1:], strict=False):
        written = [str(value.name) for value in node.outputs]
        largest_read = max((tensor_bytes.get(str(value.name), 0) for value in iter_reads(node)), default=0)
        for name in written:
            tensor_bytes.setdefault(name, largest_read)
        alive = {*before, *after, *written} - output_names
        # a result is held until the run ends, whoever has read it
        output_bytes += sum(tensor_bytes[name] for name in written if name in output_names)
        peak = max(peak, output_bytes + sum(tensor_bytes.get(name, 0) for name in alive))
    return peak


def plan_batch_size(model: ir.Model, samples: Samples, at_most: int, *, bytes_per_sample: int = 0) -> int:
    """How many of ``samples`` one run of ``model`` takes, 1 … ``at_most``, so that it keeps below :data:`MAX_RUN_BYTES`.

    It depends on the model and the first sample alone, never on the machine: sums over batches are to be the same anywhere.

    Args:
        model: What runs.
        samples: What it is fed with.
        at_most: The most samples that are wanted.
        bytes_per_sample: What is made of one besides running it.
    """
    first = next(iter(samples.batches(1)), None)
    if first is None or at_most <= 1:
        return max(at_most, 1)
    run_bytes = estimate_peak_bytes(model, first) / max(len(first.indices), 1)
    return limit_batch_size(run_bytes + bytes_per_sample, at_most, MAX_RUN_BYTES)


def limit_batch_size(bytes_per_sample: float, at_most: int, max_bytes: int = MAX_RUN_BYTES) -> int:
    """How many samples of so many bytes keep below ``max_bytes``: 1 … ``at_most``."""
    return int(np.clip(max_bytes // max(bytes_per_sample, 1), 1, at_most))
