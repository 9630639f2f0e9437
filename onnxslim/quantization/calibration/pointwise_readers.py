"""What everything that reads a tensor makes of each of its values.

Behind many a convolution stands a function of one value: x · Sigmoid(x), a HardSwish, a Gelu in five nodes. Most of what
such a tensor holds below zero comes out as nothing, and a range that covers it all spends half of its codes there.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.channels.rules.elementwise import RULES
from onnxslim.graph.constant_propagation import evaluate_node
from onnxslim.graph.constants import get_const_array

#: A BatchNormalization has numbers for each channel, and a Dropout may be random.
POINTWISE_OPS = frozenset(RULES) - {"BatchNormalization", "Dropout"}
#: A function has few nodes; no more are looked at.
MAX_NODES = 24


def evaluate_pointwise_readers(value: ir.Value, samples: np.ndarray, opset: int) -> np.ndarray | None:
    """What becomes of ``samples`` of ``value`` where all that reads it comes to one tensor, value by value.

    The last such tensor counts: behind Sigmoid and Mul, not the Sigmoid's own output, which is one of two ways.

    Args:
        value: A tensor of a graph.
        samples: Values that it may have, float64 (n,).
        opset: Of the graph.

    Returns:
        float64 (n,); None where it is read as it is or on paths that stay apart, or the result is not finite or always the
        same.
    """
    known: dict[ir.Value, np.ndarray] = {value: samples.astype(np.float32)}
    done: set[ir.Node] = set()
    result: np.ndarray | None = None
    while len(done) < MAX_NODES and (node := _find_next(known, done)) is not None:
        inputs = [None if read is None else known.get(read, get_const_array(read)) for read in node.inputs]
        with np.errstate(all="ignore"):  # a Sigmoid's exponential overflows on its way to zero
            outputs = evaluate_node(node, inputs, opset)
        if outputs is None:
            return None
        done.add(node)
        known[node.outputs[0]] = outputs[0]
        ends = [end for end in known if end.is_graph_output() or any(use.node not in done for use in end.uses())]
        if ends == [node.outputs[0]] and outputs[0].dtype == np.float32:
            result = outputs[0]
    if result is None or result.size != samples.size or not np.isfinite(result).all() or np.ptp(result) == 0:
        return None
    return result.reshape(-1).astype(np.float64)


def _find_next(known: dict[ir.Value, np.ndarray], done: set[ir.Node]) -> ir.Node | None:
    """A reader of what is ``known`` that reads nothing else but single numbers."""
    graph = next(iter(known)).graph
    readers = dict.fromkeys(use.node for value in known for use in value.uses())
    return next((node for node in readers if node not in done and _is_pointwise(node, known, graph)), None)


def _is_pointwise(node: ir.Node, known: dict[ir.Value, np.ndarray], graph: ir.Graph | None) -> bool:
    if node.op_type not in POINTWISE_OPS or node.domain or len(node.outputs) != 1 or node.graph is not graph:
        return False
    constants = [get_const_array(read) for read in node.inputs if read is not None and read not in known]
    return all(array is not None and array.size == 1 for array in constants)
