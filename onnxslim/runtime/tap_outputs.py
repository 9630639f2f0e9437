"""Taps: tensors inside a model made visible as outputs."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxslim.model_io import model_file


def tap_outputs(model: ir.Model, names: Iterable[str], *, only: bool = False) -> ir.Model:
    """A copy of ``model`` whose outputs include the main graph's tensors called ``names``.

    Args:
        model: It is not changed.
        names: Tensors of the main graph; inputs and outputs are allowed and stay what they are.
        only: Drop the model's own outputs, and the nodes that only they need.

    Raises:
        KeyError: A name that the main graph does not have.
    """
    tapped = model_file.clone(model)
    graph = tapped.graph
    values = {value.name: value for value in graph.inputs}
    values.update({output.name: output for node in graph for output in node.outputs if output.name})
    tapped_names = list(dict.fromkeys(names))
    if only:
        graph.outputs.clear()
        graph.outputs.extend(values[name] for name in tapped_names)
        remove_unused(graph)
    else:
        output_names = {value.name for value in graph.outputs}
        graph.outputs.extend(values[name] for name in tapped_names if name not in output_names)
    return tapped


def remove_unused(graph: ir.Graph) -> None:
    """Remove, in place, the nodes and initializers of ``graph`` that no output needs."""
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
