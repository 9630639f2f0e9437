"""What static int8 costs each layer alone, from one run: the float model with a quantised twin beside every layer.

The trunk stays float, so a twin sees exactly what its layer sees; only its own input and weights are rounded. Both
outputs are compared inside the graph, and two numbers a layer and sample come out, however large the activations are.
That is one model and one pass for all layers, where quantising them one at a time takes as many models as layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import relative_error
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.numerics import affine
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, find_fusion_groups, make_plan
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.targets.base import Target
from onnxslim.runtime.parallel import FeedIterable, run_all
from onnxslim.runtime.session import SessionConfig

#: Samples that ranges (min-max) are taken from and that noise is measured on.
MAX_SENSITIVITY_SAMPLES = 16


def measure_layer_sensitivity(
    model: ir.Model, target: Target, feeds: FeedIterable, config: SessionConfig, exclude: Sequence[str] = ()
) -> dict[str, float]:
    """‖y - ŷ‖² / ‖y‖² of every layer that can run in int8, by its name; ranges are the extremes of the samples.

    Args:
        model: Prepared (shapes inferred, nodes named); not changed.
        target: Whose table says which layers can.
        feeds: Single samples; the first :data:`MAX_SENSITIVITY_SAMPLES` are used.
        config: Where to run.
        exclude: Regular expressions of layers to leave out.
    """
    samples = list(itertools.islice(feeds, MAX_SENSITIVITY_SAMPLES))
    twin_model = model_file.clone(model)
    all_units = find_fusion_groups(twin_model, target, exclude)
    int8_capable = find_int8_capable(all_units)
    layers = [unit for unit in all_units if unit.has_weights and unit.name in int8_capable]
    if not layers:
        return {}
    layer_inputs = {str(unit.inputs[0].name) for unit in layers}
    tensors = [name for name in make_plan(all_units, int8_capable).tensors if name in layer_inputs]
    statistics = observe.check_seen(observe.collect_statistics(model, samples, tensors, config), model, samples, config)
    graph, editor = twin_model.graph, GraphEditor(twin_model.graph)
    outputs: list[ir.Value] = []
    for unit in layers:
        name = str(unit.inputs[0].name)
        low, high = min(statistics.low[name], 0.0), max(statistics.high[name], 0.0)
        encoding = affine.compute_activation_encoding(low, high, symmetric=target.activation_symmetric)
        outputs += _add_quantized_twin(editor, unit, encoding, target)
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    editor.remove_all_unread()
    graph.sort()

    def read_sums(index: int, values: dict[str, np.ndarray]) -> np.ndarray:
        pairs = np.array([float(values[str(value.name)]) for value in outputs]).reshape(-1, 2)
        # what is NaN in float (a masked row) cannot be held against int8
        return np.where(np.isfinite(pairs).all(axis=1, keepdims=True), pairs, 0.0).reshape(-1)

    sums = np.sum(list(run_all(twin_model, samples, read_sums, config.with_(is_lean=True))), axis=0)
    return {unit.name: relative_error(float(sums[2 * i]), float(sums[2 * i + 1])) for i, unit in enumerate(layers)}


def _add_quantized_twin(editor: GraphEditor, unit: FusionGroup, encoding: affine.Encoding, target: Target) -> list[ir.Value]:
    """The layer once more with rounded input and weights; the squared difference of the outputs, and their square."""
    node, axis = unit.anchor, unit.layer.output_axis
    weight = get_const_array(node.inputs[1])
    assert weight is not None
    scales = affine.compute_weight_scales(weight, axis, reduce_range=target.saturating_pairs)
    dequantized = affine.quantize_weight(weight, scales, axis) * affine.broadcast_along(scales, axis, weight.ndim)
    scale = editor.add_initializer(f"{unit.name}_twin_scale", encoding.scale)
    zero_point = editor.add_initializer(f"{unit.name}_twin_zero_point", encoding.zero_point)
    # whatever stands too early now is put right when the graph is sorted
    codes = editor.add_node("QuantizeLinear", node.inputs[0], scale, zero_point, before=node, name=f"{unit.name}_twin_codes")
    x = editor.add_node("DequantizeLinear", codes, scale, zero_point, before=node, name=f"{unit.name}_twin_input")
    twin_weight = editor.add_initializer(f"{unit.name}_twin_weight", dequantized.astype(np.float32))
    twin = editor.add_node(
        node.op_type, x, twin_weight, *node.inputs[2:], before=node, name=f"{unit.name}_twin", attributes=node.attributes
    )
    y = node.outputs[0]
    difference = editor.add_node("Sub", y, twin, before=node, name=f"{unit.name}_twin_gap")
    sums = []
    for quantity, value in (("noise", difference), ("signal", y)):
        name, attributes = f"{unit.name}_twin_{quantity}", {"keepdims": 0}
        sums.append(
            editor.add_node("ReduceSumSquare", value, before=node, name=name, attributes=attributes, dtype=ir.DataType.FLOAT)
        )
    return sums
