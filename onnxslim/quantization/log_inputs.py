"""Layers whose results a logarithm reads: what is small beside the rest counts there as much as the rest.

A spectrum that a convolution or a product makes, squared and in decibels, is the case: rounding its filters or its sums adds
a floor 70 dB below the loudest band, and the logarithm shows the quiet ones beneath it. Few samples do not tell.
"""

from __future__ import annotations

import onnx_ir as ir

from onnxslim.graph.layers import LAYER_OPS
from onnxslim.graph.traversal import walk

#: What stands between such a layer and the logarithm: arithmetic, powers, sums and shapes.
_ARITHMETIC = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Abs", "Max", "Min", "Clip", "ReduceSum", "ReduceSumSquare",
    "ReduceL2", "ReduceMean", "Sum", "Slice", "Split", "Concat", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose",
    "Gather", "Pad",
})  # fmt: skip
#: What makes a spectrum without weights.
_TRANSFORMS = ("DFT", "STFT")
LOG_REASON = "a logarithm reads what it makes, and shows what is small there"


def find_log_inputs(model: ir.Model) -> list[ir.Node]:
    """Every layer on a way of arithmetic and layers to a Log, and what stands on it, in any graph of ``model``, in order.

    Activations, norms and a Softmax end it: behind them a number is small because it does not matter.
    """
    found = dict[ir.Node, None]()
    stack = [node for node in walk(model.graph) if node.op_type == "Log" and not node.domain]
    while stack:
        for producer in stack.pop().predecessors():
            if producer in found or producer.domain or producer.op_type not in (*_ARITHMETIC, *LAYER_OPS, *_TRANSFORMS):
                continue
            found[producer] = None
            stack.append(producer)  # a layer's too: mel bands are a product of a spectrum, and a wave is framed and padded
    return [node for node in walk(model.graph) if node in found]
