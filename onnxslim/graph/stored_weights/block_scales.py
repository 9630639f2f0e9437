"""Scales of blocks that a Cast makes of half floats: constants for the runtime's optimiser, and for nothing else."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor

_SCALES_INPUT = 2


def make_block_scales_constant(model: ir.Model) -> None:
    """Store the scales of every MatMulNBits as float32 constants, in place, where they are cast to it.

    Its kernel computes with scales that are no constants as if there were none: with the optimisation off, which would make
    them constants, it gives nonsense.
    """
    editor = GraphEditor(model.graph)
    for node in list(model.graph.all_nodes()):
        if node.op_type != "MatMulNBits" or node.domain != "com.microsoft":
            continue
        scales = node.inputs[_SCALES_INPUT]
        cast = None if scales is None else scales.producer()
        if scales is None or cast is None or cast.op_type != "Cast" or scales.dtype not in (None, ir.DataType.FLOAT):
            continue
        halves = get_const_array(cast.inputs[0])
        if halves is not None:
            floats = editor.add_initializer(f"{scales.name}_float32", halves.astype(np.float32))
            editor.replace_input(node, _SCALES_INPUT, floats)
