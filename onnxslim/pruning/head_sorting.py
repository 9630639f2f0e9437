"""The channels of every head in the order of what they say, the same to float rounding as the model's own outputs show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import energy, is_float, relative_error, squared_error
from onnxslim.activations.run_context import RunContext
from onnxslim.core.step_report import Skipped, StepReport
from onnxslim.data.split import draw_samples
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import find_linear_layers
from onnxslim.model_io import model_file
from onnxslim.pruning.attention_heads import find_head_pairs
from onnxslim.pruning.channel_groups import compile_excluded
from onnxslim.pruning.head_bases import HeadBases, find_bases
from onnxslim.runtime.session import Session

#: Samples that moments are taken of, and those that the result is compared on.
_MAX_SAMPLES, _CHECKED_SAMPLES = 128, 4
#: What each output may differ by after an exact change: error over energy, rounding of float32 with room, and the share of
#: what is no float that may be another.
_MAX_ERROR, _MAX_OTHERS = 1e-6, 1e-3
#: Of tensors whose channels are in another basis.
_SUFFIX = "_sorted"


@dataclass(frozen=True)
class SortedHeads:
    """What is known of the heads of one model: small beside it, and enough to sort them again.

    Attributes:
        bases: Those that change no output.
        skipped: The others, and why.
    """

    bases: Sequence[HeadBases]
    skipped: Sequence[Skipped]


def survey_heads(model: ir.Model, context: RunContext, exclude: Sequence[str] = ()) -> SortedHeads:
    """The bases of all heads of ``model`` that can be sorted without changing an output.

    Args:
        model: Not changed.
        context: What it is fed with; its samples tell what says how much.
        exclude: Regular expressions of node names; layers that match stay as they are, as do those that share a weight.

    Raises:
        TimeLimitError: There was no time to measure all, or to prove them.
    """
    samples = context.require_samples("prune")
    samples = samples.take(draw_samples(samples, _MAX_SAMPLES, seed=0))
    nodes, patterns = list(model.graph), compile_excluded(exclude)

    def may_change(node: ir.Node) -> bool:
        # of a weight that others read as well each layer would get one of its own
        weight = node.inputs[1]
        return weight is not None and len(weight.uses()) == 1 and not any(p.search(node.name or "") for p in patterns)

    pairs = [
        pair
        for pair in find_head_pairs(model, dict(next(iter(samples.batches(1)))), context.config)
        if may_change(nodes[pair.first]) and may_change(nodes[pair.second])
    ]
    if not pairs:
        return SortedHeads((), ())
    bases = find_bases(model, pairs, replace(context, samples=samples))
    proof = _Proof(model, bases, replace(context, samples=samples.take(draw_samples(samples, _CHECKED_SAMPLES, seed=0))))
    exact = proof.select_exact([], range(len(bases)))
    others = (nodes[pair.first].name or "" for number, pair in enumerate(pairs) if number not in exact)
    skipped = [Skipped(name, "another basis inside its heads changes the outputs") for name in others]
    return SortedHeads([bases[number] for number in exact], skipped)


def sort_head_channels(model: ir.Model, heads: SortedHeads) -> tuple[ir.Model, StepReport]:
    """``model`` with the channels of every head in the order of what they say, the same to float rounding.

    Args:
        model: Not changed.
        heads: What is known of it (:func:`survey_heads`).

    Returns:
        The model, and how many heads changed; the model itself where none did.
    """
    report = StepReport("heads", skipped=list(heads.skipped))
    if not heads.bases:
        return model, report
    result = _apply_bases(model, heads.bases)
    layers, rename = find_linear_layers(result.graph), _make_renaming(result.graph)
    for pair in (found.pair for found in heads.bases):
        # the channels are others than those of that name in the model that recovery learns from
        _rename_to_product(layers[pair.first].output, rename)
        if pair.reads_values:
            _rename_from_product(layers[pair.second].node.inputs[0], rename)
        else:
            _rename_to_product(layers[pair.second].output, rename)
        report.count("heads sorted", len(pair.first_channels))
    return result, report


def _apply_bases(model: ir.Model, bases: Sequence[HeadBases]) -> ir.Model:
    """``model`` with its heads in ``bases``; it is not changed."""
    result = model_file.clone(model)
    layers = find_linear_layers(result.graph)
    for found in bases:
        found.apply(layers)
    return result


class _Proof:
    """Which bases change no output, by running the model with them."""

    def __init__(self, model: ir.Model, bases: Sequence[HeadBases], context: RunContext) -> None:
        self._model, self._bases, self._config, self._pacer = model, bases, context.config, context.pace()
        self._batches = [dict(batch) for batch in context.require_samples("prune").batches(1)]
        session = Session(model, self._config)
        self._wanted = [session.run(batch) for batch in self._batches]

    def select_exact(self, known: list[int], numbers: Sequence[int]) -> list[int]:
        """``known`` and those of ``numbers`` that change nothing beside them: of what does not pass halves are tried."""
        self._pacer.require("sort heads")
        if self._is_exact([*known, *numbers]):
            return [*known, *numbers]
        if len(numbers) == 1:
            return known
        middle = len(numbers) // 2
        return self.select_exact(self.select_exact(known, numbers[:middle]), numbers[middle:])

    def _is_exact(self, numbers: Sequence[int]) -> bool:
        """Whether every output is the same with these bases, each output measured by itself."""
        changed, sums = _apply_bases(self._model, [self._bases[number] for number in numbers]), dict[str, np.ndarray]()
        session = Session(changed, self._config)
        for before, batch in zip(self._wanted, self._batches, strict=True):
            after = session.run(batch)
            for name, output in before.items():
                a, b = _list_arrays(output), _list_arrays(after[name])
                if [array.shape for array in a] != [array.shape for array in b]:
                    return False
                for x, y in zip(a, b, strict=True):
                    found = (squared_error(x, y), energy(x), 0, 0) if is_float(x) else (0.0, 0.0, np.sum(x != y), x.size)
                    sums[name] = sums.get(name, np.zeros(4)) + found
        return all(
            relative_error(noise, signal) <= _MAX_ERROR and others <= _MAX_OTHERS * size
            for noise, signal, others, size in sums.values()
        )


def _list_arrays(output: Any) -> list[np.ndarray]:
    """A tensor, or those of a sequence; of anything else an array that holds it."""
    return [np.asarray(part) for part in (output if isinstance(output, list) else [output])]


def _make_renaming(graph: ir.Graph) -> Callable[[ir.Value], None]:
    """What gives a value of ``graph``, unless it is an output, a name that none had before; each but once."""
    editor, renamed = GraphEditor(graph), set[ir.Value]()

    def rename(value: ir.Value) -> None:
        if not value.is_graph_output() and value not in renamed:
            renamed.add(value)
            editor.rename(value, f"{value.name}{_SUFFIX}")

    return rename


def _rename_to_product(value: ir.Value, rename: Callable[[ir.Value], None]) -> None:
    """Name ``value`` and what is made of it anew, up to products."""
    waiting, seen = [value], set[ir.Value]()
    while waiting:
        value = waiting.pop()
        if value not in seen:
            seen.add(value)
            rename(value)
            waiting += [output for node in value.consumers() if node.op_type != "MatMul" for output in node.outputs]


def _rename_from_product(value: ir.Value | None, rename: Callable[[ir.Value], None]) -> None:
    """Name ``value`` and what it is made of anew, back to a product."""
    while value is not None and (producer := value.producer()) is not None:
        rename(value)
        value = None if producer.op_type == "MatMul" or not producer.inputs else producer.inputs[0]
