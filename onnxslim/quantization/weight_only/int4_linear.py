"""Large linear layers of a static int8 model with weights in 4 bits, where an inference reads each weight once.

The last layer of an image classifier is often a third of the file and a hundredth of the time. onnxruntime's MatMulNBits
reads 4-bit codes as fast as int8 ones there. Rounding to 16 levels would show, so it is done with error feedback for the
inputs that the quantised model gives the layer, and the mean of what is left goes into the bias (Nagel et al., Data-free
quantization, 2019).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import observe
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.cost import Cost, compute_cost
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.linear_layers import WeightMatrix, find_weight_matrices
from onnxslim.quantization.numerics import blockwise
from onnxslim.quantization.qdq.fusion_groups import FusionGroup
from onnxslim.quantization.weight_only.blocks import replace_with_matmul_nbits, store_blocks
from onnxslim.runtime.session import SessionConfig

#: A layer whose weights are a smaller share of the model's saves less than it may cost.
MIN_WEIGHT_SHARE = 0.05
#: Samples that a layer is fitted to: at least, at most, and in between as many as these multiply-accumulates pay for.
MIN_FIT_SAMPLES, MAX_FIT_SAMPLES, FIT_MACS = 64, 512, 5e11
#: Why a layer is not int8 when its weights are in 4 bits, and what a model without such a layer is told.
INT4_REASON = "its weights are in 4 bits"
NO_LAYERS_REASON = f"none holds {MIN_WEIGHT_SHARE:.0%} of the weights and reads each of them once an inference"


def find_int4_layers(model: ir.Model, exclude: Sequence[str] = ()) -> list[str]:
    """The linear layers that this is for, by name: each holds a good part of the weights, and reads each weight once.

    Args:
        model: It is not changed.
        exclude: Regular expressions of layers to leave out.
    """
    named_model = model_file.clone(model)
    name_nodes(named_model.graph.all_nodes())
    model_cost = compute_cost(named_model)
    return [
        weight.reader_names[0]
        for weight in find_weight_matrices(named_model, exclude)[0]
        if _is_int4_candidate(weight, model_cost)
    ]


def _is_int4_candidate(weight: WeightMatrix, model_cost: Cost) -> bool:
    if weight.tables or len(weight.linear_layers) != 1 or weight.array.size < MIN_WEIGHT_SHARE * model_cost.params:
        return False
    if (bias := weight.linear_layers[0].bias) is not None and get_const_array(bias) is None:
        return False  # there is nothing to put the mean of what is lost into
    layer_cost = model_cost.nodes.get(weight.reader_names[0])
    return layer_cost is not None and layer_cost.macs == weight.array.size


def mark_int4_units(all_units: Sequence[FusionGroup], names: Collection[str]) -> list[FusionGroup]:
    """``all_units`` with the units ``names`` in float."""
    return [replace(unit, why_float=INT4_REASON) if unit.name in names else unit for unit in all_units]


def write_int4_layers(model: ir.Model, names: Collection[str], feeds: CalibrationFeeds, config: SessionConfig) -> int:
    """Give the linear layers ``names`` weights in 4 bits, in place; how many there were.

    Args:
        model: Everything else in it is quantised already.
        names: Of :func:`find_int4_layers`.
        feeds: Calibration data.
        config: Where they run.
    """
    selected = [weight for weight in find_weight_matrices(model)[0] if weight.reader_names[0] in names]
    macs = max(compute_cost(model).macs, 1)
    layer_inputs = _collect_inputs(
        model, selected, feeds[: int(min(max(FIT_MACS / macs, MIN_FIT_SAMPLES), MAX_FIT_SAMPLES))], config
    )
    editor = GraphEditor(model.graph)
    for weight in selected:
        _write_int4_layer(editor, weight, layer_inputs[str(weight.linear_layers[0].activation.name)])
    return len(selected)


def _collect_inputs(
    model: ir.Model, selected: Sequence[WeightMatrix], feeds: CalibrationFeeds, config: SessionConfig
) -> dict[str, np.ndarray]:
    """What the layers are fed with: float32 (rows, K) by tensor."""
    names = [str(weight.linear_layers[0].activation.name) for weight in selected]
    rows = observe(model, names, feeds, lambda _, name, array: array.copy().reshape(-1, array.shape[-1]), config)
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def _write_int4_layer(editor: GraphEditor, weight: WeightMatrix, x: np.ndarray) -> None:
    """MatMulNBits for the layer of ``weight``, fitted to its inputs ``x`` (rows, K)."""
    linear, mean = weight.linear_layers[0], x.mean(axis=0, dtype=np.float64)
    float_weight = weight.array if weight.scale_axis == 0 else weight.array.T
    centered = x - mean.astype(np.float32)
    gram = (centered.T @ centered).astype(np.float64) / len(x)
    quantized = blockwise.quantize_gptq(float_weight, gram)
    stem = str(weight.weight_value.name)
    given_bias = get_const_array(linear.bias)
    float_bias = (
        np.zeros(len(float_weight)) if given_bias is None else np.broadcast_to(given_bias.reshape(-1), len(float_weight))
    )
    corrected_bias = float_bias + (float_weight - quantized.dequantize()) @ mean
    bias = editor.add_initializer(f"{stem}_bias", corrected_bias.astype(np.float32))
    replace_with_matmul_nbits(editor, linear, store_blocks(editor, stem, quantized), bias)
