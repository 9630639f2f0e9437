"""The energy of one inference, estimated from what has to be computed and moved: good for ratios, never for joules.

Prices are those of Horowitz, "Computing's energy problem" (ISSCC 2014), at 45 nm: a multiply-accumulate in float32 4.6 pJ,
float16 1.5 pJ, int8 0.23 pJ; a byte from a cache of a megabyte 12.5 pJ. Weights are read once, and what a layer computes
is written once and read once; what a runtime fuses into the layer before it costs nothing to move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constant_propagation import propagate_constants
from onnxslim.graph.constants import get_const_tensor, iter_initializers
from onnxslim.graph.cost import FLOAT_TYPES, MAC_COUNTERS, unpack_kernels

#: Picojoules of one multiply-accumulate by the bits of its factors, and of moving one byte.
MAC_PJ = {32: 4.6, 16: 1.5, 8: 0.23}
BYTE_PJ = 12.5

#: Ops whose results are not written anywhere: they are fused into what they follow, or only say how to read it.
_FREE_OPS = frozenset(
    "Relu Clip BatchNormalization QuantizeLinear DequantizeLinear Identity Constant Reshape Flatten Squeeze Unsqueeze "
    "Shape Dropout Cast".split()
)
#: Ops of constants that the runtime carries out at every run: codes that kernels read as they are.
_KEPT_OPS = frozenset(("QuantizeLinear", "DequantizeLinear", "If", "Loop", "Scan"))


@dataclass(frozen=True)
class EnergyEstimate:
    """Picojoules of one inference at batch 1: of arithmetic, and of moving weights and activations."""

    arithmetic: float
    traffic: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.arithmetic + self.traffic


def estimate_energy(model: ir.Model, dims: Mapping[str, int] | None = None) -> EnergyEstimate:
    """The estimate for ``model`` as it is written; free dimensions as in :func:`onnxslim.graph.cost.compute_cost`."""
    bound = model.clone()
    arithmetic = traffic = 0.0
    loaded = _find_loaded(bound)
    for _, _, value in iter_initializers(bound):
        if value.const_value is not None and (not value.uses() or _is_read_at_run(value, loaded)):
            traffic += BYTE_PJ * value.const_value.nbytes
    unpack_kernels(bound)
    shapes.bind(bound, dims)
    propagate_constants(bound)
    traffic += sum(BYTE_PJ * (shapes.get_nbytes(value) or 0) for value in loaded if _is_read_at_run(value, loaded))
    for node in bound.graph.all_nodes():
        if node.outputs[0] in loaded:
            continue
        count = MAC_COUNTERS.get(node.op_type)
        if count is not None:
            arithmetic += MAC_PJ[_factor_bits(node)] * (count(node) or 0)
        if node.op_type not in _FREE_OPS:
            traffic += sum(2 * BYTE_PJ * _activation_bytes(value) for value in node.outputs)
    return EnergyEstimate(arithmetic, traffic)


def _find_loaded(model: ir.Model) -> dict[ir.Value, None]:
    """What the runtime computes of constants when it loads ``model``, as weights that are expanded: read as it is then."""
    loaded: dict[ir.Value, None] = {}
    for node in model.graph:
        inputs = [value for value in node.inputs if value is not None]
        if not inputs or node.domain or node.op_type in _KEPT_OPS:
            continue
        if all(value in loaded or get_const_tensor(value) is not None for value in inputs):
            loaded.update(dict.fromkeys(node.outputs))
    return loaded


def _is_read_at_run(value: ir.Value, loaded: Mapping[ir.Value, None]) -> bool:
    return any(use.node.outputs[0] not in loaded for use in value.uses())


def _factor_bits(node: ir.Node) -> int:
    """Bits of the wider factor: 8 where both were dequantised from 8 bits or fewer, else the float's width."""
    if node.op_type in ("ConvInteger", "MatMulInteger"):
        return 8
    return max(_width_bits(value) for value in node.inputs[:2] if value is not None)


def _width_bits(value: ir.Value) -> int:
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        return 8
    return 16 if value.dtype in FLOAT_TYPES and value.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE) else 32


def _activation_bytes(value: ir.Value) -> int:
    """What ``value`` takes where it is stored: as codes when nothing but QuantizeLinear reads it."""
    sizes, nbytes = shapes.get_static_dims(value), shapes.get_nbytes(value)
    if sizes is None or nbytes is None:
        return 0
    readers = _find_readers(value)
    is_quantized = bool(readers) and all(node.op_type == "QuantizeLinear" for node in readers)
    return math.prod(sizes) if is_quantized else nbytes


def _find_readers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read ``value``, or what an activation fused to it makes of it."""
    readers: list[ir.Node] = []
    for use in value.uses():
        readers += _find_readers(use.node.outputs[0]) if use.node.op_type in ("Relu", "Clip") else [use.node]
    return readers
