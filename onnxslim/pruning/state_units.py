"""Hidden units of recurrent nets whose state goes in and out of the graph: pruned inside, with the interface as it was.

The state of a stream is an input and an output, so that its units look pinned. They are not: while channels are chosen, what
reads a state reads a Gather of it, whose indices may become fewer, and the output that feeds it is no output of the graph.
Afterwards the output is given its size back, with zeros for units that went, which no step reads. Whoever runs the model
feeds and keeps states as before, and each model carries its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.rules.recurrent import RULES as RECURRENT_OPS
from onnxslim.core.step_report import StepReport
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor

#: Pad takes its amounts as an input from here on.
_MIN_OPSET = 11


@dataclass(frozen=True)
class OpenStates:
    """Which states of a model are open.

    Attributes:
        outputs: Names of all outputs that the model has, in order.
        pairs: Of open states: output → the node that picks the units of the input.
    """

    outputs: tuple[str, ...] = ()
    pairs: Mapping[str, str] | None = None


def open_states(model: ir.Model, state: Mapping[str, str]) -> OpenStates:
    """Let the units of the states in ``state`` (output → input) go, in place, where the same ones go from both.

    Args:
        model: Nodes named. Only states along whose last axis the hidden units of an LSTM, GRU or RNN lie are opened.
        state: What is fed back.
    """
    graph, outputs = model.graph, tuple(str(value.name) for value in model.graph.outputs)
    is_recurrent = any(node.op_type in RECURRENT_OPS for node in graph)
    if not is_recurrent or not set(outputs) - set(state) or (graph.opset_imports.get("") or 0) < _MIN_OPSET:
        return OpenStates()
    inputs = {str(value.name): value for value in graph.inputs}
    known = {str(value.name): value for value in graph.outputs}
    opened: dict[str, ir.Value] = {}
    for output, name in state.items():
        picked, units = _find_picked(inputs.get(name)), _find_units(known[output])
        if picked is not None and units is not None:  # an earlier pruning's
            opened[output], known[output] = picked, units
        elif picked is None and units is None and _has_units(inputs.get(name)):
            opened[output] = _pick_units(graph, inputs[name])
    graph.outputs[:] = [known[name] for name in outputs]  # so that nobody takes them for unread
    for output in opened:
        _take_name(graph, known[output], output)
    graph.outputs[:] = [value for value in graph.outputs if value.name not in opened]
    while opened:
        analysis = analyze_channels(model, lossy=True)
        differing = []
        for output, picked in opened.items():
            read, written = (analysis.tensor_labels.get(name, (None,))[-1] for name in (str(picked.name), output))
            if read is None or written is None or not np.array_equal(analysis.labels[read], analysis.labels[written]):
                differing.append(output)
        if not differing:
            break
        closed = {output: opened.pop(output) for output in differing}
        graph.outputs[:] = [known[name] for name in outputs if name not in opened]
        for output, picked in closed.items():
            _close(graph, known[output], picked)
        known |= {str(value.name): value for value in graph.outputs}
    return OpenStates(outputs, {output: str(_get_node(picked).name) for output, picked in opened.items()})


def close_states(model: ir.Model, states: OpenStates) -> StepReport:
    """Give the outputs back what :func:`open_states` took, in the sizes that they had, in place; what became of each."""
    report, graph = StepReport("states"), model.graph
    if not states.pairs:
        return report
    nodes = {node.name: node for node in graph}
    values = {str(value.name): value for node in graph for value in node.outputs} | {
        str(value.name): value for value in graph.outputs
    }
    graph.outputs[:] = [values[name] for name in states.outputs]
    for output, name in states.pairs.items():
        state, (kept, size) = nodes[name].inputs[0], _close(graph, values[output], nodes[name].outputs[0])
        if kept < size:
            assert state is not None
            report.warnings.append(
                f"state {state.name}: {kept} of {size} units are left; the others stay zero, whatever is fed"
            )
    return report


def _close(graph: ir.Graph, units: ir.Value, picked: ir.Value) -> tuple[int, int]:
    """Return the state in its whole size again, and read it whole where no unit went; how many of how many are left."""
    node = _get_node(picked)
    whole, indices = node.inputs[0], get_const_array(node.inputs[1])
    assert whole is not None
    assert whole.shape is not None
    assert indices is not None
    size = whole.shape[-1]
    assert isinstance(size, int)
    if len(indices) == size:
        picked.replace_all_uses_with(whole)
        GraphEditor(graph).remove_unread([node])
    else:
        _write_whole(graph, units, indices.astype(np.int64), size)
    return len(indices), size


def _find_picked(value: ir.Value | None) -> ir.Value | None:
    """The units of a state input that are read, where an earlier pruning left a choice of them."""
    readers = () if value is None else value.uses()
    return next((use.node.outputs[0] for use in readers if len(readers) == 1 and use.idx == 0 and _picks(use.node)), None)


def _find_units(output: ir.Value) -> ir.Value | None:
    """What a state output is made of, where an earlier pruning gave it its size back."""
    gather = output.producer()
    pad = None if gather is None or not _picks(gather) or gather.inputs[0] is None else gather.inputs[0].producer()
    if pad is None or pad.op_type != "Pad" or pad.domain or len(pad.inputs) != 2 or pad.attributes:
        return None
    amounts = get_const_array(pad.inputs[1])
    return pad.inputs[0] if amounts is not None and amounts[-1] == 1 and not amounts[:-1].any() else None


def _picks(node: ir.Node) -> bool:
    """Whether ``node`` picks constant places along the last axis."""
    shape, indices = node.outputs[0].shape, get_const_array(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type != "Gather" or node.domain or shape is None or indices is None or indices.ndim != 1:
        return False
    return node.attributes.get_int("axis", 0) in (-1, len(shape) - 1)


def _take_name(graph: ir.Graph, units: ir.Value, name: str) -> None:
    """Call what a state output is made of as the output is called, without what made that of it."""
    if units.name == name:
        return
    editor = GraphEditor(graph)
    editor.remove_unread([node for node in list(graph) if any(value.name == name for value in node.outputs)])
    editor.rename(units, name)


def _has_units(value: ir.Value | None) -> bool:
    """Whether ``value`` may be the state of hidden units, along its last axis."""
    if value is None or value.shape is None or value.dtype is None or not value.dtype.is_floating_point():
        return False
    return len(value.shape) > 1 and isinstance(value.shape[-1], int) and value.shape[-1] > 1


def _get_node(value: ir.Value) -> ir.Node:
    node = value.producer()
    assert node is not None
    return node


def _pick_units(graph: ir.Graph, value: ir.Value) -> ir.Value:
    """All units of an input, picked one by one, for whoever reads it."""
    assert value.shape is not None
    size = value.shape[-1]
    assert isinstance(size, int)
    editor = GraphEditor(graph)
    readers = list(value.uses())
    picked = editor.add_node(
        "Gather", value, editor.add_initializer(f"{value.name}_units", np.arange(size)), name=f"{value.name}_units",
        before=graph[0], dtype=value.dtype, shape=value.shape, attributes={"axis": len(value.shape) - 1},
    )  # fmt: skip
    for use in readers:
        use.node.replace_input_with(use.idx, picked)
    return picked


def _write_whole(graph: ir.Graph, units: ir.Value, indices: np.ndarray, size: int) -> None:
    """Let the graph return ``units`` at ``indices`` of ``size``, and zeros elsewhere."""
    editor, name = GraphEditor(graph), str(units.name)
    assert units.shape is not None
    rank = len(units.shape)
    amounts = np.zeros(2 * rank, np.int64)
    amounts[-1] = 1  # a unit that is zero, behind all others
    padded = editor.add_node(
        "Pad", units, editor.add_initializer(f"{name}_pads", amounts), name=f"{name}_Pad", dtype=units.dtype
    )
    places = np.full(size, len(indices), np.int64)
    places[indices] = np.arange(len(indices))
    whole = editor.add_node(
        "Gather", padded, editor.add_initializer(f"{name}_places", places), name=f"{name}_Gather", dtype=units.dtype,
        shape=ir.Shape([*units.shape[:-1], size]), attributes={"axis": rank - 1},
    )  # fmt: skip
    editor.replace_output(units, whole, f"{name}_units")
