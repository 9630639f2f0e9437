"""Norms whose means and variances are folded into scale and shift: two vectors instead of four, for norms of any layer.

A BatchNormalization that no convolution takes in (behind a Concat, in front of a PRelu) divides by the root of a variance
and subtracts a mean, both constants. The runtime makes one factor and one term of the four, and those are stored: its
variance is one and its mean zero, which norms of one width share.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor

#: From this opset on a BatchNormalization has one mean a channel, always.
_MIN_OPSET = 9
#: Bytes of an element, and what must be saved of the elements of means and variances.
_ELEMENT_BYTES, _MIN_SAVED_BYTES = 4, 120


def fold_norm_statistics(model: ir.Model) -> StepReport:
    """Give the BatchNormalizations of the main graph mean 0 and variance 1, in place, where that saves bytes.

    Scale and shift are computed in float32 as onnxruntime does when it runs the norm: the outputs keep their bits.
    """
    report = StepReport("norms")
    if (model.opset_imports.get("") or 1) < _MIN_OPSET:
        return report
    norms: dict[int, list[tuple[ir.Node, list[np.ndarray]]]] = defaultdict(list)
    for node in model.graph:
        if (vectors := _read_vectors(node)) is not None:
            norms[vectors[0].size].append((node, vectors))
    editor = GraphEditor(model.graph)
    for size, nodes in norms.items():
        if 2 * _ELEMENT_BYTES * size * (len(nodes) - 1) < _MIN_SAVED_BYTES:
            continue
        means = editor.add_initializer(f"means_{size}", np.zeros(size, np.float32))
        variances = editor.add_initializer(f"variances_{size}", np.ones(size, np.float32))
        for node, (scale, shift, mean, variance) in nodes:
            epsilon = np.float32(node.attributes.get_float("epsilon", 1e-5))
            factor = (np.float32(1) / np.sqrt(variance + epsilon)) * scale
            for index, array in ((1, factor), (2, shift - mean * factor)):
                editor.set_constant(node, index, array, f"{node.outputs[0].name}_{index}")
            editor.replace_input(node, 3, means)
            editor.replace_input(node, 4, variances)
            node.attributes["epsilon"] = ir.AttrFloat32("epsilon", 0.0)
            report.count("norms stored in two vectors")
    return report


def _read_vectors(node: ir.Node) -> list[np.ndarray] | None:
    """Scale, shift, mean and variance of a BatchNormalization that applies constants in float32; None of anything else."""
    is_inference = len(node.outputs) == 1 and not node.attributes.get_int("training_mode", 0)
    if node.op_type != "BatchNormalization" or node.domain or not is_inference:
        return None
    vectors = [array for value in node.inputs[1:5] if (array := get_const_array(value)) is not None]
    is_plain = len(vectors) == 4 and all(array.dtype == np.float32 and array.ndim == 1 for array in vectors)
    return vectors if is_plain and (vectors[3] >= 0).all() else None
