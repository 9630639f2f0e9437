"""Layers whose integer products can go wrong on other processors, told from the weights and the ranges of a model alone.

x86 without VNNI adds two products of uint8 and int8 in 16 bits, where the sum saturates beyond 32 767: neighboring weights
of one sign that add up to more than 128 can meet it where activations are large (``numerics/saturation.py``). 64-bit Arm
without a dot product adds two in 16 bits too, of activations moved to int8: only two weights of -128 on activations of 0
wrap around there. Convolutions of one channel each (depthwise) have kernels of their own, which are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.clip_bounds import get_clip_bounds
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.layers import get_output_axis
from onnxslim.quantization.numerics.saturation import largest_pair_sums

#: What a sum of two products may come to.
MAX_SUM = np.iinfo(np.int16).max
_MAX_CODE, _WEIGHT_BITS = 255, 8
#: Op that reads codes → the inputs that are its weights.
_WEIGHT_INPUTS = {
    "QLinearConv": (3,),
    "QLinearMatMul": (3,),
    "QGemm": (3,),
    "MatMulInteger": (1,),
    "ConvInteger": (1,),
    "DynamicQuantizeMatMul": (1,),
    "MatMulIntegerToFloat": (1,),
    "DynamicQuantizeLSTM": (1, 2),
}
_CONVOLUTIONS = frozenset({"Conv", "QLinearConv", "ConvInteger"})
_DEQUANTIZED_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})


@dataclass(frozen=True)
class SaturatingLayer:
    """A layer that can meet a sum that 16 bits do not hold.

    Attributes:
        name: Of the node.
        channels: Outputs that can.
        total: Outputs.
        largest_sum: The largest sum of two products that its weights and its input's range allow.
        wraps_on_arm: Whether weights of -128 stand side by side, so that 64-bit Arm without a dot product goes wrong too.
    """

    name: str
    channels: int
    total: int
    largest_sum: int
    wraps_on_arm: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.channels} of {self.total} channels, sums up to {self.largest_sum})"


def find_saturating_layers(model: ir.Model) -> list[SaturatingLayer]:
    """Those of ``model``, the one that can go furthest beyond 16 bits first; it may be Q/DQ, QOperator or dynamic."""
    found = []
    for node in model.graph.all_nodes():
        high, sums, wraps = _find_highest_code(node), list[np.ndarray](), False
        for codes, axis in _list_weights(node):
            for part in codes if node.op_type == "DynamicQuantizeLSTM" else (codes,):
                sums.append(largest_pair_sums(part, axis) * high)
                wraps = wraps or bool((part == np.iinfo(np.int8).min).any())
        if not sums:
            continue
        all_sums = np.concatenate(sums)
        if (beyond := int((all_sums > MAX_SUM).sum())) > 0:
            name = node.name or str(node.outputs[0].name)
            found.append(SaturatingLayer(name, beyond, len(all_sums), int(all_sums.max()), wraps))
    return sorted(found, key=lambda layer: -layer.largest_sum)


def report_room(model: ir.Model) -> StepReport:
    """What it costs a model that no product of it saturates: bits of its weights; and a warning where one still can."""
    report, bits = StepReport("room"), list[np.ndarray]()
    for node in model.graph.all_nodes():
        for codes, axis in _list_weights(node):
            rows = np.abs(np.moveaxis(codes, axis, 0).astype(np.int16)).reshape(codes.shape[axis], -1)
            peaks = rows.max(axis=1, initial=0)
            bits.append(_WEIGHT_BITS + np.log2(peaks[peaks > 0] / np.iinfo(np.int8).max))
    if any(one.size for one in bits):
        report.changed["bits of weights, so that no product saturates"] = (
            f"{np.concatenate(bits).mean():.2f} of {_WEIGHT_BITS}"
        )
    if layers := find_saturating_layers(model):
        report.warnings.append(
            f"products of {layers[0]} can saturate without VNNI"
            + (f", and those of {len(layers) - 1} more layers" if len(layers) > 1 else "")
        )
    return report


def _list_weights(node: ir.Node) -> Iterator[tuple[np.ndarray, int]]:
    """The int8 codes of ``node``'s weights, and the axis of its outputs in each; none where its products are exact."""
    values = []
    if node.op_type in _WEIGHT_INPUTS:
        values = [node.inputs[place] for place in _WEIGHT_INPUTS[node.op_type] if place < len(node.inputs)]
    elif node.op_type in _DEQUANTIZED_LAYERS and len(node.inputs) > 1 and _has_codes(node.inputs[0]):
        weight = node.inputs[1].producer() if node.inputs[1] is not None else None
        values = [weight.inputs[0]] if weight is not None and weight.op_type == "DequantizeLinear" else []
    for value in values:
        codes = get_const_array(value)
        if codes is None or codes.dtype != np.int8 or codes.ndim < 2:
            continue
        if node.op_type in _CONVOLUTIONS and codes.shape[1] == 1 and codes.shape[0] == node.attributes.get_int("group", 1):
            continue
        yield codes, _get_axis(node)


def _get_axis(node: ir.Node) -> int:
    if node.op_type in _CONVOLUTIONS:
        return 0
    if node.op_type in _DEQUANTIZED_LAYERS:
        return get_output_axis(node)
    return 0 if node.attributes.get_int("transB", 0) else -1


def _has_codes(value: ir.Value | None) -> bool:
    """Whether ``value`` is dequantized from codes that each run computes."""
    producer = None if value is None else value.producer()
    return producer is not None and producer.op_type == "DequantizeLinear" and get_const_array(producer.inputs[0]) is None


def _find_source(node: ir.Node | None, op: str) -> ir.Node | None:
    """The node that makes the first input of ``node``, where it is an ``op``."""
    value = node.inputs[0] if node is not None and node.inputs else None
    source = None if value is None else value.producer()
    return source if source is not None and source.op_type == op else None


def _find_highest_code(node: ir.Node) -> int:
    """The highest code that ``node``'s input can hold: less than 255 where a Clip before it ends the range earlier."""
    quantize = _find_source(_find_source(node, "DequantizeLinear"), "QuantizeLinear")
    clip = _find_source(quantize, "Clip")
    if quantize is None or clip is None:
        return _MAX_CODE
    scale, zero_point = (get_const_array(value) for value in (*quantize.inputs[1:3], None)[:2])
    high = get_clip_bounds(clip)[1]
    if scale is None or zero_point is None or scale.size != 1 or high is None or zero_point.dtype != np.uint8:
        return _MAX_CODE
    step = float(scale.reshape(()))
    if not step > 0 or math.isnan(high):
        return _MAX_CODE
    return int(np.clip(np.rint(high / step) + int(zero_point.reshape(())), 0, _MAX_CODE))
