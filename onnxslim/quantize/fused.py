"""What the runtime made of a quantised model: its own optimised graph, read back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.quantize.plan import Unit
from onnxslim.runtime.optimized import optimized
from onnxslim.runtime.session import SessionConfig

_INT8 = re.compile(r"^(QLinear|QGemm|MatMulInteger|ConvInteger|DynamicQuantize|QMoE|MatMulNBits|QAttention)")


@dataclass(frozen=True)
class Layer:
    """One weighted layer of the model as it really runs.

    Attributes:
        name: The layer.
        op: Its op type in the float model.
        kernel: ``int8`` or ``float``.
        why: Why it is float, or None.
    """

    name: str
    op: str
    kernel: str
    why: str | None


@dataclass(frozen=True)
class Fusion:
    """The runtime's graph summed up: op counts, the Q/DQ pairs that survived, and each weighted layer."""

    ops: dict[str, int]
    surviving: int
    layers: tuple[Layer, ...]

    @property
    def int8(self) -> int:
        """How many weighted layers run in int8."""
        return sum(layer.kernel == "int8" for layer in self.layers)


def fusion(model: ir.Model, units: Sequence[Unit], planned: frozenset[str], config: SessionConfig) -> Fusion:
    """Let the runtime optimise ``model`` and say which layers became int8 kernels.

    A layer is found by its weights: whatever node of the optimised graph reads the initializer that the quantised
    model gave it. Layers that were planned for int8 and are not found behind an int8 kernel are the ones to look at.
    """
    graph = optimized(model, config).graph
    ops = Counter(node.op_type for node in graph)
    kernels = {str(value.name): node.op_type for node in graph for value in node.inputs if value is not None}
    layers = []
    for unit in units:
        if unit.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or len(unit.anchor.inputs) < 2:
            continue
        weight = unit.anchor.inputs[1]
        prefix = f"{weight.name if weight is not None else ''}_{unit.name}_quantized"
        kernel = next((op for name, op in kernels.items() if name.startswith(prefix)), None)
        if unit.name in planned and kernel is not None and _INT8.match(kernel):
            layers.append(Layer(unit.name, unit.op, "int8", None))
        elif unit.name in planned:
            why = f"the runtime left it as {kernel}" if kernel else "the runtime left it float"
            layers.append(Layer(unit.name, unit.op, "float", why))
        else:
            layers.append(Layer(unit.name, unit.op, "float", unit.why_float or "float is faster here"))
    return Fusion(dict(ops.most_common()), ops["QuantizeLinear"] + ops["DequantizeLinear"], tuple(layers))
