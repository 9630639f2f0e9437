"""What the runtime made of a quantised model: its own optimised graph, read back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
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
    ops, kernels = read_back(model, config)
    layers = []
    for unit in units:
        if unit.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or len(unit.anchor.inputs) < 2:
            continue
        if unit.name not in planned:
            layers.append(Layer(unit.name, unit.op, "float", unit.why_float or "float is faster here"))
            continue
        weight = unit.anchor.inputs[1]
        prefix = f"{weight.name if weight is not None else ''}_{unit.name}_quantized"
        behind = [op for name, ops in kernels.items() if name.startswith(prefix) for op in ops]
        layers.append(layer_behind(unit.name, unit.op, behind))
    return Fusion(dict(ops.most_common()), ops["QuantizeLinear"] + ops["DequantizeLinear"], tuple(layers))


def read_back(model: ir.Model, config: SessionConfig) -> tuple[Counter[str], Mapping[str, Sequence[str]]]:
    """The runtime's optimised graph, bodies included: how many nodes of each op, and the ops that read each value."""
    readers: dict[str, list[str]] = {}
    ops: Counter[str] = Counter()
    for node in optimized(model, config).graph.all_nodes():
        ops[node.op_type] += 1
        for value in node.inputs:
            if value is not None:
                readers.setdefault(str(value.name), []).append(node.op_type)
    return ops, readers


def layer_behind(name: str, op: str, kernels: Sequence[str]) -> Layer:
    """The layer ``name`` that was written in int8; ``kernels`` are the ops that read its weights now."""
    if any(_INT8.match(kernel) for kernel in kernels):
        return Layer(name, op, "int8", None)
    why = f"the runtime left it as {', '.join(dict.fromkeys(kernels))}" if kernels else "the runtime left it float"
    return Layer(name, op, "float", why)
